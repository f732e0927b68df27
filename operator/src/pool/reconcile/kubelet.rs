//! What a kubelet says of pods that it cannot even begin: a volume that cannot be mounted is told
//! nowhere but in the pod's Events.

use super::{Context, Look, Memory};
use crate::pool::observe;
use crate::pool::provision::Told;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use std::collections::BTreeMap;
use std::time::Duration;

/// A pod that a node has taken is begun within so long, or its Events are asked for.
const BEGUN_WITHIN: Duration = Duration::from_secs(5);
/// How often they are asked for.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// So many pods are asked about at a time; the others of a pool fail alike.
const MAX_PODS: usize = 4;
/// So many Events of one pod are read.
const MAX_EVENTS: u32 = 50;

/// What was heard of one pool's pods.
#[derive(Default)]
pub(super) struct Heard {
    asked: Option<Timestamp>,
    /// By pod.
    told: BTreeMap<String, Told>,
}

impl Context {
    /// Tells what keeps runners' pods from being begun.
    pub(super) async fn hear_of_kubelets(&self, look: &mut Look<'_>, memory: &mut Memory) {
        let (now, begun_within) = (look.now, BEGUN_WITHIN);
        let since = look.children.pods.iter().filter_map(|pod| {
            let since = observe::unbegun(pod)?;
            Some((since.checked_add(begun_within).unwrap_or(now), pod.clone()))
        });
        let (late, early): (Vec<_>, Vec<_>) = since.partition(|(due, _)| *due <= now);
        if let Some(due) = early.iter().map(|(due, _)| *due).min() {
            look.look_at(due);
        }
        let heard = &mut memory.heard;
        if late.is_empty() {
            *heard = Heard::default();
            return;
        }
        let again = heard
            .asked
            .and_then(|asked| asked.checked_add(ASK_EVERY).ok());
        if again.is_none_or(|again| again <= now) {
            heard.asked = Some(now);
            heard.told.clear();
            for (_, pod) in late.iter().take(MAX_PODS) {
                let told = observe::kubelet_fault(&self.events_of(pod).await);
                heard.told.extend(told.map(|told| (pod.name_any(), told)));
            }
            look.look_after(ASK_EVERY);
        } else if let Some(again) = again {
            look.look_at(again);
        }
        for (reason, message) in observe::by_kind(&memory.heard.told) {
            look.fault(reason, message);
        }
    }

    /// None where they cannot be had: something else is told then.
    async fn events_of(&self, pod: &Pod) -> Vec<Event> {
        let namespace = pod.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let uid = pod.uid().unwrap_or_default();
        let params = ListParams::default()
            .fields(&format!("involvedObject.uid={uid},type=Warning"))
            .limit(MAX_EVENTS);
        match events.list(&params).await {
            Ok(events) => events.items,
            Err(error) => {
                tracing::warn!(pod = pod.name_any(), %error, "why it is not begun could not be asked");
                Vec::new()
            }
        }
    }
}
