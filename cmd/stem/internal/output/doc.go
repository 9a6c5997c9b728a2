// Package output prints results in every format that stem has, from one description of their columns.
//
// A command declares a [Sheet] once and calls [List] or [One]; the same columns make tables, JSON, YAML and CSV. JSON is
// a promise: keys are lowerCamel and keep their order, times are RFC 3339 in UTC, a duration is a number of seconds
// beside its text ("ageSeconds": 12.3, "age": "12s"), ids are strings, a value that is absent is null. Keys are added,
// never renamed.
package output
