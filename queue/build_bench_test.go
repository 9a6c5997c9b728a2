package queue

import (
	"strings"
	"testing"
)

type benchArgs struct {
	N    int    `json:"n"`
	Sent int64  `json:"sent"`
	Text string `json:"text"`
}

// BenchmarkBuild is what a bulk enqueue does before it sends anything: the part of it that no pipeline hides.
func BenchmarkBuild(b *testing.B) {
	q, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	task := NewTask[benchArgs]("bench")
	requests := make([]Request, 1000)
	for i := range requests {
		requests[i] = task.New(benchArgs{N: i, Text: strings.Repeat("x", 160)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.build(requests); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/job")
}
