//! The headless Service: it gives each runner's pod the name that its certificate is for.

use super::{PORT, PORT_NAME, Subject};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Without an address of its own.
pub(crate) fn service(subject: &Subject<'_>) -> Service {
    Service {
        metadata: subject.metadata(),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            type_: Some("ClusterIP".to_owned()),
            selector: Some(subject.selector()),
            // The operator has a runner load its models before it can be ready.
            publish_not_ready_addresses: Some(true),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: i32::from(PORT),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
