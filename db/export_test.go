package db

import (
	"context"
	"strings"
)

// Manifest is manifest.txt as this database would have it.
func (m *Migrator) Manifest(ctx context.Context) (string, error) {
	items, err := m.manifest(ctx)
	var b strings.Builder
	for _, i := range items {
		b.WriteString(i.kind + "\t" + i.name + "\t" + i.definition + "\n")
	}
	return b.String(), err
}
