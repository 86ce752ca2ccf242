// Package nearest finds the word that was probably meant.
package nearest

import "strings"

// Of returns the candidate that word was probably meant to be: the one with the
// fewest letters that differ, two at most and no more than half of them, or else one
// that word begins with, or the other way round. It returns "" where there is none.
func Of(word string, candidates []string) (best string) {
	word = strings.ToLower(word)
	least := min(len(word)/2, 2) + 1
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	const telling = 3 // what is shorter begins too many words
	for _, c := range candidates {
		lower := strings.ToLower(c)
		if best == "" && min(len(word), len(c)) >= telling && (strings.HasPrefix(word, lower) || strings.HasPrefix(lower, word)) {
			best = c
		}
	}
	return best
}

// distance is how many bytes must be added, taken out or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // from a's beginning so far to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(replaced, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
