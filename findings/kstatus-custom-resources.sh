#!/bin/sh
# kstatus, github.com/fluxcd/cli-utils v1.2.2 (Flux and Helm 4 wait by it): custom resources with a Job's conditions.
#
# Guess: a custom resource that carries the conditions of a batch/v1 Job is judged like a Job: `Failed` is Failed, `Complete`
# False is InProgress, and one whose controller has written no status yet is InProgress.
# Seen: all three are Current, so a tool that waits reports success at once. Only Ready, Reconciling, Stalled and
# observedGeneration count outside the built-in kinds; an observedGeneration of -1 makes the one without a status InProgress. With
# both Reconciling and Stalled True the first one in the list decides.
set -eu
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > main.go <<'END'
package main

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func show(name, apiVersion, kind string, observed any, types ...string) {
	conditions := []any{}
	for _, each := range types {
		value := "True"
		if each[0] == '!' {
			each, value = each[1:], "False"
		}
		conditions = append(conditions, map[string]any{"type": each, "status": value, "reason": "Because", "message": "so"})
	}
	object := map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": "a", "namespace": "b", "generation": int64(1)},
		"spec":     map[string]any{},
	}
	if observed != nil {
		object["status"] = map[string]any{"observedGeneration": observed, "conditions": conditions}
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: %s\n", name, result.Status)
}

func main() {
	show("Job, Failed", "batch/v1", "Job", int64(1), "Failed")
	show("custom, Failed", "example.test/v1", "Work", int64(1), "Failed")
	show("custom, not Complete", "example.test/v1", "Work", int64(1), "!Complete")
	show("custom, no status", "example.test/v1", "Work", nil)
	show("custom, observed -1", "example.test/v1", "Work", int64(-1))
	show("custom, Reconciling before Stalled", "example.test/v1", "Work", int64(1), "Reconciling", "Stalled")
	show("custom, Stalled before Reconciling", "example.test/v1", "Work", int64(1), "Stalled", "Reconciling")
}
END
go mod init example.test/kstatus 2>/dev/null
go get github.com/fluxcd/cli-utils@v1.2.2 2>/dev/null
go mod tidy 2>/dev/null
go run . | tee seen.txt
cat > expected.txt <<'END'
Job, Failed: Failed
custom, Failed: Current
custom, not Complete: Current
custom, no status: Current
custom, observed -1: InProgress
custom, Reconciling before Stalled: InProgress
custom, Stalled before Reconciling: Failed
END
diff expected.txt seen.txt
