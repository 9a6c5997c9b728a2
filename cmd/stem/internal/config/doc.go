// Package config reads the settings of the stem command: flags, then the environment, then stem.yaml, then defaults.
// Every value knows where it came from, secrets may come from files, and a name that nobody knows is not passed over.
//
// [github.com/spf13/viper] lays the sources over one another; outside of this package there is only [Config].
package config
