package tasksfile

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errOpenQuote = errors.New("a quote is not closed")
	errBackslash = errors.New("nothing follows the backslash")
)

// words splits s as a shell does: at blanks, with single and double quotes and backslashes. What a shell would act upon
// (pipes, redirections, variables) is refused, since here it would silently mean itself.
func words(s string) ([]string, error) {
	var list []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\r':
			if inWord {
				list = append(list, word.String())
				word.Reset()
				inWord = false
			}
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return nil, errOpenQuote
			}
			word.WriteString(s[i+1 : i+1+end])
			inWord = true
			i += 1 + end
		case '"':
			end, err := doubleQuoted(&word, s, i+1)
			if err != nil {
				return nil, err
			}
			inWord = true
			i = end
		case '\\':
			if i++; i == len(s) {
				return nil, errBackslash
			}
			if s[i] != '\n' {
				word.WriteByte(s[i])
				inWord = true
			}
		case '|', '&', ';', '<', '>', '(', ')', '$', '`':
			return nil, needsShell(c)
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		list = append(list, word.String())
	}
	return list, nil
}

// doubleQuoted reads from behind the opening quote and returns the index of the closing one.
func doubleQuoted(word *strings.Builder, s string, i int) (int, error) {
	for ; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return i, nil
		case '$', '`':
			return 0, needsShell(c)
		case '\\':
			if i+1 == len(s) {
				return 0, errOpenQuote
			}
			switch next := s[i+1]; next {
			case '"', '\\', '$', '`':
				word.WriteByte(next)
				i++
			case '\n':
				i++
			default:
				word.WriteByte(c)
			}
		default:
			word.WriteByte(c)
		}
	}
	return 0, errOpenQuote
}

func needsShell(c byte) error {
	return fmt.Errorf(`%c would need a shell: quote it, or write command: ["sh", "-c", "..."]`, c)
}
