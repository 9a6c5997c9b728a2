package tasksfile

import "testing"

func TestSampleTasks(t *testing.T) {
	t.Parallel()
	f, err := Load("../../examples/tasks/tasks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tasks := map[string]*Task{}
	for _, task := range f.Tasks {
		tasks[task.Name] = task
	}
	tests := []struct {
		task, payload string
		attempt       int
		outcome       Outcome
		result        string
	}{
		{"hello", `{"name":"Ada"}`, 1, Completed, `{"greeting":"Hello, Ada"}`},
		{"hello", "{\n \"x\": 1,\n \"name\" : \"%s $(id) `id` \\\\\",\n \"y\": \"z\"}", 1, Completed, "{\"greeting\":\"Hello, %s $(id) `id` \\\\\"}"},
		{"hello", `{"name":"Å \u00e5 'q'"}`, 1, Completed, `{"greeting":"Hello, Å \u00e5 'q'"}`},
		{"hello", `{"name":7}`, 1, Dead, ""},
		{"hello", ``, 1, Dead, ""},
		{"patient", `{}`, 1, PutBack, ""},
		{"patient", `{}`, 2, PutBack, ""},
		{"patient", `{}`, 3, Completed, `{"ready":true}`},
		{"strict", `{"amount": 12}`, 1, Completed, `{"accepted":12}`},
		{"strict", `{"amount": "12"}`, 1, Dead, ""},
	}
	for _, tt := range tests {
		run := newRun(tt.payload)
		run.Attempt = tt.attempt
		if r := tasks[tt.task].Run(t.Context(), run); r.Outcome != tt.outcome || string(r.Result) != tt.result {
			t.Errorf("%s %s: got %d, %s, %v, want %d, %s", tt.task, tt.payload, r.Outcome, r.Result, r.Err, tt.outcome, tt.result)
		}
	}
}
