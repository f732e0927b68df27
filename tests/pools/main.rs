//! Pools of pods on a real node: kubelet, containerd and the real runner with libtorch. They need
//! root; without it each says why it did nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod degraded;
mod gpus;
mod hostile;
mod imports;
mod kueue;
mod lost;
mod rotation;
mod scaling;
