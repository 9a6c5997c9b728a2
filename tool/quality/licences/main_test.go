package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"MIT, broken over lines", "MIT License\n\nPermission is hereby granted, free of\n  charge, to any person obtaining a copy of", "MIT"},
		{"BSD", "Redistribution and use in source and binary forms, with or without\nmodification, are permitted provided that", "BSD"},
		{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with", "ISC"},
		{"Apache", "                     Apache License\n               Version 2.0, January 2004", "Apache-2.0"},
		{"MPL names the GPL", "Mozilla Public License Version 2.0 ... GNU General Public License", "MPL-2.0"},
		{"GPL", "GNU GENERAL PUBLIC LICENSE Version 3", ""},
		{"LGPL beside MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy or GNU Lesser General Public License", ""},
		{"Apache with the Commons Clause", "Commons Clause License Condition v1.0 ... Apache License Version 2.0", ""},
		{"something else", "All rights reserved.", ""},
	}
	for _, tt := range tests {
		if got := classify([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLicenceIsLookedForInTheRootOfTheModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if kind, err := licence(dir); err == nil {
		t.Errorf("no file: got %q, want an error", kind)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENCE.txt"), []byte("All rights reserved."), 0o600); err != nil {
		t.Fatal(err)
	}
	if kind, err := licence(dir); err == nil {
		t.Errorf("unknown text: got %q, want an error", kind)
	}
	const mit = "Permission is hereby granted, free of charge, to any person obtaining a copy"
	if err := os.WriteFile(filepath.Join(dir, "COPYING"), []byte(mit), 0o600); err != nil {
		t.Fatal(err)
	}
	if kind, err := licence(dir); kind != "MIT" || err != nil {
		t.Errorf("got %q, %v, want MIT", kind, err)
	}
}
