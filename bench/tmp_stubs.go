package main
const childCommand = "x"
func childMain([]string) int { return 1 }
func plot(result) string { return "" }
func cycleScenarios() []scenario { return nil }
func pickupScenarios() []scenario { return nil }
func claimScenarios() []scenario { return nil }
func processScenarios() []scenario { return nil }
func limitScenarios() []scenario { return nil }
