package main
func plot(result) string { return "" }
func claimScenarios() []scenario { return nil }
