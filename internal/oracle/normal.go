package oracle

import (
	"encoding/json"
	"slices"
	"strings"
)

// sortByText puts decoded JSON values into the order of their text.
func sortByText(list []any) {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic("oracle: a decoded value can't be encoded: " + err.Error())
		}
		return string(b)
	}
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(a), text(b)) })
}
