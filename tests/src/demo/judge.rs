//! Whether what was seen is what is claimed. Pure functions.

#[cfg(test)]
mod tests;

use std::fmt::Debug;

use super::{attempt::Attempt, report::Verdict};

/// How far a backend may be from its share of a few hundred requests, as a share of all. Chance alone would bring it
/// there once in a million times.
pub(super) const TOLERANCE: f64 = 0.1;

/// What was seen is what was to be seen.
pub(super) fn same<T: PartialEq + Debug>(seen: &T, expected: &T) -> Verdict {
    if seen == expected {
        Ok(())
    } else {
        Err(format!("{seen:?}, not {expected:?}"))
    }
}

/// Each of several verdicts, of which there must be some.
pub(super) fn each(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts
        .into_iter()
        .reduce(Verdict::and)
        .unwrap_or_else(|| Err("there was none".to_owned()))
}

/// Backends answered as many of the requests as is their share, about.
pub(super) fn near(answers: [u32; 3], shares: [f64; 3]) -> Verdict {
    let total = f64::from(answers.iter().sum::<u32>());
    each(answers.into_iter().zip(shares).map(|(answers, share)| {
        let answered = f64::from(answers) / total;
        // Without any requests it is not a number, which is near to nothing.
        if (answered - share).abs() < TOLERANCE {
            Ok(())
        } else {
            Err(format!("{answers} of {total} requests for a share of {share:.3}"))
        }
    }))
}

/// Every one of the requests was answered, and there were some.
pub(super) fn all_answered<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Verdict {
    each(attempts.into_iter().map(|attempt| match &attempt.outcome {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("{}: {why}", attempt.client)),
    }))
}

/// One server answered all of a client's requests, at least two, and each time remembered those before.
pub(super) fn one_memory(attempts: &[Attempt]) -> Verdict {
    all_answered(attempts)?;
    let visits = || attempts.iter().filter_map(|attempt| attempt.outcome.as_ref().ok());
    each(visits().zip(visits().skip(1)).map(|(earlier, later)| {
        let (seen, expected) = ((&later.server, later.visits), (&earlier.server, earlier.visits + 1));
        same(&seen, &expected)
    }))
}

/// A backend went in or out of the tables by the probe that makes the threshold full: not by one before, and without
/// waiting for another. Each look tells whether it had, and how many such probes there had been since the daemon started.
/// The first look is from before the first of these probes, the last from after the turn.
pub(super) fn turned_at(threshold: u32, looks: &[(bool, u32)]) -> Verdict {
    let turn = looks.iter().position(|(turned, _)| *turned);
    let (Some((_, first)), Some(turn)) = (looks.first(), turn) else {
        return Err("it did not".to_owned());
    };
    let probes = |look: usize| looks.get(look).map_or(0, |(_, probes)| probes - first);
    match turn.checked_sub(1) {
        None => Err("it had from the beginning".to_owned()),
        Some(_) if probes(turn) < threshold => Err(format!("it did after {} probes", probes(turn))),
        // A probe is counted before its verdict takes effect, so the last one may have been seen by itself.
        Some(before) if probes(before) > threshold => Err(format!("it had not after {} probes", probes(before))),
        Some(_) => Ok(()),
    }
}
