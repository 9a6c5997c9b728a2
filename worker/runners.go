package worker

import "sync"

// runners are the goroutines that run handlers. There are as many as handlers block, at most one a slot: each that takes a job
// sees to it that there is one more for what is left, and handlers that do not block are run by the same few. A goroutine
// for each job would grow its stack in the decoder each time, which was a fifth of a worker's CPU with short jobs, and a thousand
// that wait are a thousand stacks to scan for the garbage collector.
type runners struct {
	ready  []*held // begun, in claim order, and not taken by a runner yet
	idle   int     // runners that wait for a job
	coming bool    // one was started or woken, and has not taken a job yet
	over   bool    // no job comes any more

	mu   *sync.Mutex // of the dispatcher; guards all above
	wake *sync.Cond
	all  sync.WaitGroup
}

func (r *runners) init(mu *sync.Mutex) { r.mu, r.wake = mu, sync.NewCond(mu) }

// muster gets a runner for what is ready. The caller holds mu.
func (r *runners) muster(run func(*held)) {
	switch {
	case len(r.ready) == 0 || r.coming:
	case r.idle > 0:
		r.coming = true
		r.wake.Signal()
	default:
		r.coming = true
		r.all.Go(func() { r.serve(run) })
	}
}

// serve runs jobs as they become ready, until no more come. A handler that calls runtime.Goexit ends it.
func (r *runners) serve(run func(*held)) {
	for isNew := true; ; isNew = false {
		h := r.take(run, isNew)
		if h == nil {
			return
		}
		run(h)
	}
}

// take waits for a job; nil when no more come.
func (r *runners) take(run func(*held), isNew bool) *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isNew {
		r.coming = false
	}
	for len(r.ready) == 0 {
		if r.over {
			return nil
		}
		r.idle++
		r.wake.Wait()
		r.idle--
		r.coming = false
	}
	h := r.ready[0]
	r.ready[0] = nil
	r.ready = r.ready[1:]
	r.muster(run)
	return h
}

// dismiss ends the runners when what is ready has run. The caller holds mu.
func (r *runners) dismiss() {
	r.over = true
	r.wake.Broadcast()
}
