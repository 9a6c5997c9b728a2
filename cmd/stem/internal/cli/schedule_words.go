package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

// specWords says in words what the JSON of a spec says: every 30s, once 2026-02-01T09:00:00Z, cron 0 2 * * *. What is no spec stays as it is.
func specWords(text string) string {
	var s struct {
		Every, StartAt, EndAt string
		Cron                  string
		Clocked               string
		Solar                 string
		Latitude, Longitude   float64
		Offset                string
		Calendar              map[string][]any
	}
	if json.Unmarshal([]byte(text), &s) != nil {
		return text
	}
	switch {
	case s.Every != "":
		words := "every " + s.Every
		if s.StartAt != "" {
			words += " from " + s.StartAt
		}
		if s.EndAt != "" {
			words += " until " + s.EndAt
		}
		return words
	case s.Cron != "":
		return "cron " + s.Cron
	case s.Clocked != "":
		return "once " + s.Clocked
	case s.Solar != "":
		words := fmt.Sprintf("%s at %s,%s", s.Solar, degrees(s.Latitude), degrees(s.Longitude))
		if s.Offset != "" {
			words += " " + signed(s.Offset)
		}
		return words
	case s.Calendar != nil:
		words := []string{"calendar"}
		for _, key := range []string{"months", "weekdays", "monthdays", "hours", "minutes"} {
			if list := s.Calendar[key]; len(list) > 0 {
				words = append(words, key, strings.Join(calendarWords(key, list), ","))
			}
		}
		return strings.Join(words, " ")
	}
	return text
}

// calendarWords are the values of a list: days of the week and months by their names.
func calendarWords(key string, list []any) []string {
	var words []string
	for _, value := range list {
		word := fmt.Sprint(value)
		n, isNumber := value.(float64)
		switch {
		case isNumber && key == "weekdays":
			word = strings.ToUpper(time.Weekday(int(n) % 7).String()[:3])
		case isNumber && key == "months" && n >= 1 && n <= 12:
			word = strings.ToUpper(time.Month(int(n)).String()[:3])
		}
		words = append(words, word)
	}
	return words
}

func degrees(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func signed(offset string) string {
	if strings.HasPrefix(offset, "-") {
		return offset
	}
	return "+" + offset
}

// away says how far a time is from now: in 5m, in 3d, 3s ago.
func away(at, now time.Time) string {
	d := at.Sub(now)
	text := arg.Text(d.Abs())
	if days := d.Abs().Hours() / 24; days >= 2 {
		text = fmt.Sprintf("%.0fd", days)
	}
	if d < 0 {
		return text + " ago"
	}
	return "in " + text
}
