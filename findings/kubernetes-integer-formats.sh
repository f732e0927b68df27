#!/bin/sh
# k8s.io/apiextensions-apiserver (the API server's custom resources) v0.35.4 and v0.36.3: `format` of an integer.
#
# Guess: `format: int32` and `format: int64` in a CustomResourceDefinition are documentation. A fraction is refused
# by `type: integer`, in the same words in every release, and a number that int32 does not hold is accepted.
# Seen: up to Kubernetes 1.35 that is so. Since 1.36 the format is checked too: a number above int32 is refused, so an
# object that was valid is not any more once its cluster is upgraded, and a fraction is refused as "must be of type int32",
# in place of "integer".
set -eu
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
show() {
    mkdir "$folder/$1" && cd "$folder/$1"
    cat > main.go <<'END'
package main

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func main() {
	schema := &apiextensions.JSONSchemaProps{
		Type:       "object",
		Properties: map[string]apiextensions.JSONSchemaProps{"count": {Type: "integer", Format: "int32"}},
	}
	validator, _, err := validation.NewSchemaValidator(schema)
	if err != nil {
		panic(err)
	}
	for _, text := range []string{`{"count": 7}`, `{"count": 3000000000}`, `{"count": 1.5}`} {
		var object map[string]any
		// Integers become int64, as in the API server.
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			panic(err)
		}
		fmt.Println(text, validation.ValidateCustomResource(field.NewPath("spec"), object, validator).ToAggregate())
	}
}
END
    go mod init example.test/formats 2>/dev/null
    go get "k8s.io/apiextensions-apiserver@$1" 2>/dev/null
    go mod tidy 2>/dev/null
    go run . > ../"$1".txt
    echo "$1:" && cat ../"$1".txt
}
show v0.35.4
show v0.36.3
cd "$folder"
grep -q '^{"count": 3000000000} <nil>$' v0.35.4.txt
grep -q '^{"count": 1.5} .*must be of type integer' v0.35.4.txt
grep -q '^{"count": 3000000000} .*spec.count' v0.36.3.txt
grep -q '^{"count": 1.5} .*must be of type int32' v0.36.3.txt
