//! Runs one pass over a batch. If it fails, each half is tried alone: a batch too large for memory
//! fits in parts, and a picture that breaks a pass fails alone.

use crate::inference::{Answer, Item, Model, ModelFault};
use fovea_protocol::{Problem, Reason};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// libtorch's messages when out of memory, on a GPU and on a CPU.
const OUT_OF_MEMORY: [&str; 3] = [
    "out of memory",
    "can't allocate memory",
    "not enough memory",
];

/// libtorch's messages for errors that leave a CUDA context unusable.
const DEVICE_LOST: [&str; 5] = [
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUBLAS_STATUS",
    "device-side assert",
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// It does not fit in memory.
    OutOfMemory,
    /// The device is unusable; holds the first line of libtorch's message.
    DeviceLost(String),
    /// The model failed; holds the first line of libtorch's message.
    Failed(String),
    /// The model panicked on it.
    Panicked,
}

impl From<ModelFault> for Fault {
    fn from(fault: ModelFault) -> Self {
        let text = fault.to_string();
        tracing::error!(error = text, "a pass failed");
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        // Its stack follows on further lines.
        let first = text.lines().next().unwrap_or_default().to_owned();
        if says(&OUT_OF_MEMORY) {
            Self::OutOfMemory
        } else if says(&DEVICE_LOST) {
            Self::DeviceLost(first)
        } else {
            Self::Failed(first)
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfMemory => Self::new(
                Reason::OutOfMemory,
                "the device has too little memory for this picture, even alone",
            ),
            Fault::DeviceLost(why) => Self::new(
                Reason::DeviceLost,
                format!("the device failed, and the runner restarts: {why}"),
            ),
            Fault::Failed(why) => {
                Self::new(Reason::InferenceFailed, format!("the model failed: {why}"))
            }
            Fault::Panicked => Self::new(
                Reason::InferenceFailed,
                "the model panicked; see the runner's log",
            ),
        }
    }
}

/// The outcome of one picture, and the size of its pass.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Result<Answer, Fault>,
    pub(super) batch_size: usize,
}

#[derive(Debug)]
pub(super) struct Halved {
    pub(super) outcomes: Vec<Outcome>,
    /// After an out-of-memory error, the number of pictures that may fit.
    pub(super) fitting: Option<usize>,
}

/// Returns true for the index of an item whose request was cancelled.
pub(super) type Dropped<'a> = &'a dyn Fn(usize) -> bool;

/// Runs one pass, and catches panics: libtorch's own errors are returned.
pub(super) fn run_once(
    model: &dyn Model,
    items: &[Item],
    dropped: Dropped<'_>,
) -> Result<Vec<Answer>, Fault> {
    match catch_unwind(AssertUnwindSafe(|| model.run(items, dropped))) {
        Ok(Ok(answers)) if answers.len() == items.len() => Ok(answers),
        Ok(Ok(answers)) => Err(Fault::Failed(format!(
            "it gave {} answers for {} pictures",
            answers.len(),
            items.len()
        ))),
        Ok(Err(fault)) => Err(fault.into()),
        Err(_) => Err(Fault::Panicked),
    }
}

type Run<'a, T> = &'a dyn Fn(&[T], Dropped<'_>) -> Result<Vec<Answer>, Fault>;

/// Runs `items`; if that fails, runs each half, down to single items.
pub(super) fn run_halving<T>(items: &[T], dropped: Dropped<'_>, run: Run<'_, T>) -> Halved {
    let same_for_all = |fault: Fault| {
        let outcome = || Outcome {
            answer: Err(fault.clone()),
            batch_size: items.len(),
        };
        std::iter::repeat_with(outcome).take(items.len()).collect()
    };
    let fault = match run(items, dropped) {
        Ok(answers) => {
            let outcome = |answer| Outcome {
                answer: Ok(answer),
                batch_size: items.len(),
            };
            return Halved {
                outcomes: answers.into_iter().map(outcome).collect(),
                fitting: None,
            };
        }
        Err(fault) => fault,
    };
    let half = items.len() / 2;
    let fitting = (fault == Fault::OutOfMemory).then_some(half.max(1));
    if half == 0 || matches!(fault, Fault::DeviceLost(_)) {
        return Halved {
            outcomes: same_for_all(fault),
            fitting,
        };
    }
    let mut first = run_halving(&items[..half], dropped, run);
    let lost = (first.outcomes.iter()).find_map(|outcome| match &outcome.answer {
        Err(fault @ Fault::DeviceLost(_)) => Some(fault.clone()),
        _ => None,
    });
    let second = match lost {
        // A lost device runs nothing.
        Some(fault) => Halved {
            outcomes: same_for_all(fault).into_iter().skip(half).collect(),
            fitting: None,
        },
        None => run_halving(&items[half..], &|row| dropped(half + row), run),
    };
    first.outcomes.extend(second.outcomes);
    first.fitting = [fitting, first.fitting, second.fitting]
        .into_iter()
        .flatten()
        .min();
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Runs numbers on a device with room for `room` of them, whose 13 breaks a pass and whose 99
    /// breaks the device; gives what came of each, and the sizes of all passes.
    fn run(items: &[i64], room: usize) -> (Vec<Result<i64, Fault>>, Vec<usize>, Option<usize>) {
        let passes = RefCell::new(Vec::new());
        let Halved { outcomes, fitting } = run_halving(items, &|_| false, &|items, _| {
            passes.borrow_mut().push(items.len());
            if items.contains(&99) {
                Err(Fault::DeviceLost("lost".into()))
            } else if items.len() > room {
                Err(Fault::OutOfMemory)
            } else if items.contains(&13) {
                Err(Fault::Failed("13".into()))
            } else {
                Ok(items.iter().map(|&n| Answer::Caption(vec![n])).collect())
            }
        });
        let answers = (outcomes.into_iter())
            .map(|outcome| {
                outcome.answer.map(|answer| match answer {
                    Answer::Caption(tokens) => tokens[0],
                    _ => unreachable!(),
                })
            })
            .collect();
        (answers, passes.into_inner(), fitting)
    }

    #[test]
    fn a_batch_that_does_not_fit_runs_in_halves_and_says_what_fits() {
        let (answers, passes, fitting) = run(&[1, 2, 3, 4, 5], 2);
        assert_eq!(answers, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
        assert_eq!(passes, [5, 2, 3, 1, 2]);
        assert_eq!(fitting, Some(1));
    }

    #[test]
    fn a_picture_that_breaks_a_pass_breaks_its_own_only() {
        let (answers, _, fitting) = run(&[1, 13, 3, 4], 8);
        assert_eq!(
            answers,
            [Ok(1), Err(Fault::Failed("13".into())), Ok(3), Ok(4)]
        );
        assert_eq!(fitting, None);
    }

    #[test]
    fn what_does_not_fit_alone_fails_for_want_of_memory() {
        let (answers, _, fitting) = run(&[1, 2], 0);
        assert_eq!(answers, [Err(Fault::OutOfMemory), Err(Fault::OutOfMemory)]);
        assert_eq!(fitting, Some(1));
    }

    #[test]
    fn nothing_runs_on_a_device_that_is_lost() {
        let lost = || Err(Fault::DeviceLost("lost".into()));
        let (answers, passes, _) = run(&[1, 99, 3], 8);
        assert_eq!(answers, [lost(), lost(), lost()]);
        assert_eq!(passes, [3]);
    }

    #[test]
    fn libtorchs_words_tell_what_has_failed() {
        let fault = |text: &str| Fault::from(ModelFault::Answer(text.to_owned()));
        let out = "CUDA out of memory. Tried to allocate 20.00 MiB";
        assert_eq!(fault(out), Fault::OutOfMemory);
        let cpu = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes";
        assert_eq!(fault(cpu), Fault::OutOfMemory);
        let lost = "CUDA error: an illegal memory access was encountered\nstack";
        assert!(matches!(fault(lost), Fault::DeviceLost(why) if !why.contains("stack")));
        assert!(matches!(fault("sizes do not match"), Fault::Failed(_)));
    }
}
