//go:build !linux

package pgtest

// memoryDir returns a directory in memory with room for a cluster; other systems have none by default.
func memoryDir() string { return "" }
