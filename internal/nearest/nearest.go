// Package nearest finds the valid name that a mistyped one was probably meant to be.
package nearest

import (
	"iter"
	"strings"
)

// Name returns the candidate closest to got, and whether one is close enough to be worth suggesting: within one edit of
// a word of up to four letters, two of a longer one, a third of the length of a long one. An edit is an insertion, a
// deletion, a replacement or a swap of neighbours. Case does not count. Of equally close candidates the first wins.
func Name(got string, candidates iter.Seq[string]) (string, bool) {
	lower := strings.ToLower(got)
	limit := max(2, len(got)/3)
	if len(got) <= 4 {
		limit = 1
	}
	best, bestDistance := "", limit+1
	for c := range candidates {
		if diff := len(c) - len(got); diff > limit || -diff > limit {
			continue
		}
		if d := distance(lower, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if bestDistance > limit || bestDistance >= min(len(got), len(best)) {
		return "", false
	}
	return best, true
}

// distance is the optimal string alignment distance: Levenshtein with swaps of neighbours as one edit.
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
