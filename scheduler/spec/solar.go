package spec

import (
	"math"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

type sun struct {
	event               string
	latitude, longitude float64
	offset              time.Duration
}

// maxOffset keeps the run of a day near that day.
const maxOffset = 12 * time.Hour

// searched is for how many days an event is looked for. At 89.9 degrees some years have no sunrise.
const searched = 4000

func (s *sun) check() error {
	if err := oneOf("solar", s.event, "sunrise", "sunset", "noon", "dawn", "dusk"); err != nil {
		return err
	}
	if s.offset < -maxOffset || s.offset > maxOffset {
		return wrong("offset", "%s; want -12h to 12h", s.offset)
	}
	return nil
}

func (s *sun) keys() any {
	offset := ""
	if s.offset != 0 {
		offset = duration.Format(s.offset)
	}
	return struct {
		Solar     string  `json:"solar"`
		Latitude  float64 `json:"latitude"`
		Longitude float64 `json:"longitude"`
		Offset    string  `json:"offset,omitempty"`
	}{s.event, s.latitude, s.longitude, offset}
}

func (s *sun) next(after time.Time, _ *time.Location, _ Policy) (Run, bool) {
	const day = 24 * time.Hour
	// A day of mean solar time at the place, as the UTC midnight of its date.
	mean := after.Add(-s.offset + time.Duration(s.longitude/360*float64(day)))
	today := mean.UTC().Truncate(day)
	date := today.Add(-day) // its event may be still to come: a sunset after midnight
	var notes []Note
	for range searched {
		at, polar := s.on(date)
		switch {
		case polar == "" && at.Add(s.offset).After(after):
			return Run{At: at.Add(s.offset), Notes: notes}, true
		case polar != "" && !date.Before(today):
			notes = addDay(notes, polar, date.Format(time.DateOnly))
		}
		date = date.Add(day)
	}
	return Run{}, false
}

// addDay makes a polar day part of the note of the day before.
func addDay(notes []Note, kind, date string) []Note {
	if n := len(notes); n > 0 && notes[n-1].Kind == kind {
		notes[n-1].To = date
		return notes
	}
	return append(notes, Note{Kind: kind, From: date, To: date})
}

// on returns when the event is on a date, to the second, or why it is not.
func (s *sun) on(date time.Time) (time.Time, string) {
	noon := date.Add(12*time.Hour - time.Duration(s.longitude/360*float64(24*time.Hour)))
	zenith, sign := 90.833, -1.0
	switch s.event {
	case "sunset":
		sign = 1
	case "dawn":
		zenith = 96
	case "dusk":
		zenith, sign = 96, 1
	case "noon":
		sign = 0
	}
	at := noon
	var cosine float64
	for range 8 {
		equation, declination := position(at)
		angle := 0.0
		if sign != 0 {
			cosine = (cos(zenith) - sin(s.latitude)*sin(declination)) / (cos(s.latitude) * cos(declination))
			angle = math.Acos(max(-1, min(1, cosine))) * 180 / math.Pi
		}
		minutes := sign*angle*4 - equation
		at = noon.Add(time.Duration(minutes * float64(time.Minute)))
	}
	switch {
	case cosine > 1:
		return time.Time{}, PolarNight
	case cosine < -1:
		return time.Time{}, PolarDay
	}
	return at.Round(time.Second), ""
}

// position returns the equation of time in minutes and the declination of the sun in degrees.
func position(at time.Time) (equation, declination float64) {
	const j2000 = 946728000 // 2000-01-01T12:00:00Z
	t := (float64(at.Unix()) - j2000) / 86400 / 36525
	length := math.Mod(280.46646+t*(36000.76983+t*0.0003032), 360)
	anomaly := 357.52911 + t*(35999.05029-0.0001537*t)
	eccentricity := 0.016708634 - t*(0.000042037+0.0000001267*t)
	centre := sin(anomaly)*(1.914602-t*(0.004817+0.000014*t)) + sin(2*anomaly)*(0.019993-0.000101*t) + sin(3*anomaly)*0.000289
	node := 125.04 - 1934.136*t
	apparent := length + centre - 0.00569 - 0.00478*sin(node)
	obliquity := 23 + (26+(21.448-t*(46.815+t*(0.00059-t*0.001813)))/60)/60 + 0.00256*cos(node)
	declination = math.Asin(sin(obliquity)*sin(apparent)) * 180 / math.Pi
	y := math.Pow(math.Tan(obliquity/2*math.Pi/180), 2)
	equation = y*sin(2*length) - 2*eccentricity*sin(anomaly) + 4*eccentricity*y*sin(anomaly)*cos(2*length) -
		y*y*sin(4*length)/2 - 1.25*eccentricity*eccentricity*sin(2*anomaly)
	return equation * 4 * 180 / math.Pi, declination
}

func sin(degrees float64) float64 { return math.Sin(degrees * math.Pi / 180) }

func cos(degrees float64) float64 { return math.Cos(degrees * math.Pi / 180) }
