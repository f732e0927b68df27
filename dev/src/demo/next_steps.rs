//! Next steps, as lines to paste.

use super::results::Samples;
use fovea_harness::stack::Stack;

/// Prints the addresses and some lines for another terminal.
pub(super) fn print(stack: &Stack, samples: &Samples) {
    let api = stack.api_url();
    let kubeconfig = stack.control_plane.kubeconfig().display();
    let kubectl = stack.control_plane.kubectl_path().display();
    let picture = samples.objects().map_or_else(
        |_| "picture.jpg".into(),
        |sample| sample.path.display().to_string(),
    );
    println!(
        "Fovea is up; Ctrl-C ends it. In another terminal:

  curl -s -F file=@{picture} {api}/v1/jobs
  curl -s -F file=@{picture} -F task=object-detection {api}/v1/jobs
  curl -s {api}/v1/jobs/<id>                      # the id that a line above answered

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}
  kubectl get ij -w                               # every job, as it changes
  kubectl get rp -A                               # the runners' pool
  kubectl explain ij.spec                         # what a job may say
  kubectl apply -f manifests/samples/image-to-text-inline.yaml

  the API        {api}/readyz?verbose
  MinIO          {}  (user {}, password {})
  Kubernetes     {}
",
        stack.store.endpoint(),
        stack.store.access_key(),
        stack.store.secret_key(),
        stack.control_plane.server(),
    );
}
