// kstatus judges objects as GitOps tools do: by the package that Flux and Helm share, and with their code
// that waits.
//
//	kstatus compute < objects.json          one line for each object: NAME STATUS MESSAGE
//	kstatus flux TIMEOUT KIND NAMESPACE NAME    waits as Flux's kustomize-controller does
//	kstatus helm TIMEOUT KIND NAMESPACE NAME    waits as `helm install --wait` does
//
// The latter two use KUBECONFIG, end with 0 once the object is Current, and say else what the tool says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
)

var group = schema.GroupVersion{Group: "fovea.dev", Version: "v1alpha1"}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "compute" {
		return compute(os.Stdin, os.Stdout)
	}
	if len(args) != 5 {
		return errors.New("usage: kstatus compute | kstatus flux|helm TIMEOUT KIND NAMESPACE NAME")
	}
	timeout, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	waited := &unstructured.Unstructured{}
	waited.SetGroupVersionKind(group.WithKind(args[2]))
	waited.SetNamespace(args[3])
	waited.SetName(args[4])
	switch args[0] {
	case "flux":
		return waitAsFlux(waited, timeout)
	case "helm":
		return waitAsHelm(waited, timeout)
	}
	return fmt.Errorf("%s: no such tool", args[0])
}

func compute(in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := status.Compute(object)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %s %s\n", object.GetName(), result.Status, result.Message)
	}
}

// waitAsFlux is what kustomize-controller does with `wait: true`, but for a shorter interval.
func waitAsFlux(waited *unstructured.Unstructured, timeout time.Duration) error {
	cluster, err := config.GetConfig()
	if err != nil {
		return err
	}
	web, err := rest.HTTPClientFor(cluster)
	if err != nil {
		return err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(cluster, web)
	if err != nil {
		return err
	}
	reader, err := client.New(cluster, client.Options{Mapper: mapper})
	if err != nil {
		return err
	}
	poller := polling.NewStatusPoller(reader, mapper, polling.Options{})
	manager := ssa.NewResourceManager(reader, poller, ssa.Owner{Field: "kstatus", Group: "fovea.dev"})
	set := object.ObjMetadataSet{object.UnstructuredToObjMetadata(waited)}
	options := ssa.WaitOptions{Interval: 200 * time.Millisecond, Timeout: timeout, FailFast: true}
	return manager.WaitForSetWithContext(context.Background(), set, options)
}

// waitAsHelm is what `helm install --wait` does once it has created the release's objects.
func waitAsHelm(waited *unstructured.Unstructured, timeout time.Duration) error {
	namespace := waited.GetNamespace()
	flags := genericclioptions.NewConfigFlags(true)
	flags.Namespace = &namespace
	waiter, err := kube.New(flags).GetWaiter(kube.StatusWatcherStrategy)
	if err != nil {
		return err
	}
	info := &resource.Info{Object: waited, Namespace: namespace, Name: waited.GetName()}
	return waiter.Wait(kube.ResourceList{info}, timeout)
}
