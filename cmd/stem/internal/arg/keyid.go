package arg

import (
	"fmt"

	"github.com/stemqueue/stem/internal/keylist"
)

// KeyID is the id of a key.
type KeyID string

// Set implements pflag.Value. A wrong one is not repeated: it may be a key.
func (k *KeyID) Set(s string) error {
	if !keylist.ValidID(s) {
		return fmt.Errorf("want the id of a key, 1-%d letters, digits, _ . -; got %d bytes", keylist.MaxID, len(s))
	}
	*k = KeyID(s)
	return nil
}

func (k *KeyID) String() string { return string(*k) }

// Type implements pflag.Value.
func (*KeyID) Type() string { return "key" }
