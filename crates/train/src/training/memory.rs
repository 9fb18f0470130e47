//! Whether what is asked for fits into this machine's memory. A width or a rollout with a digit too many is
//! refused by name; without that, an allocation would end the program without a word that helps.

use anyhow::{Result, bail};

use crate::networks::network::NetworkShape;
use crate::report::words::thousands;

/// Numbers of four bytes held for each parameter: itself, its gradient on two threads, moments, scratch, and the
/// copies in two checkpoints.
const COPIES_OF_PARAMETERS: u128 = 12;
/// The same for each sample beside its observation: action, value, reward, advantage and the like.
const NUMBERS_BESIDE_OBSERVATION: u128 = 10;
/// Where the system does not tell what it has: more than any machine of today.
const UNKNOWN_MEMORY: u128 = 1 << 46;

/// Refuses networks of `shape` that learn from `samples` at once where both are more than this machine holds.
///
/// # Errors
/// If they are, naming the flags.
pub fn check(shape: &NetworkShape, samples: u128) -> Result<()> {
    fits(shape, samples, of_this_machine())
}

fn fits(shape: &NetworkShape, samples: u128, memory: u128) -> Result<()> {
    let parameters = parameters(shape);
    let numbers_a_sample = (shape.observation_len as u128).saturating_add(NUMBERS_BESIDE_OBSERVATION);
    let numbers = parameters
        .saturating_mul(COPIES_OF_PARAMETERS)
        .saturating_add(samples.saturating_mul(numbers_a_sample));
    let bytes = numbers.saturating_mul(4);
    if bytes <= memory {
        return Ok(());
    }
    let written = |number: u128| u64::try_from(number).map_or("over 10^19".into(), thousands);
    bail!(
        "networks of {} parameters and {} samples at once take {} MB of memory, and this machine has {} (give smaller \
         networks with --hidden, or a smaller batch with --rollout and --envs)",
        written(parameters),
        written(samples),
        written(bytes >> 20),
        written(memory >> 20)
    )
}

/// Parameters of both networks. In numbers so wide that no width overflows them.
fn parameters(shape: &NetworkShape) -> u128 {
    let outputs = (shape.distribution.outputs() as u128).saturating_add(1);
    let widths: Vec<u128> =
        [shape.observation_len].iter().chain(&shape.hidden).map(|&width| width as u128).collect();
    let hidden = widths.windows(2).fold(0_u128, |sum, pair| {
        sum.saturating_add(pair[0].saturating_add(1).saturating_mul(pair[1]).saturating_mul(2))
    });
    let last = widths.last().copied().unwrap_or(0);
    hidden.saturating_add(last.saturating_add(1).saturating_mul(outputs))
}

fn of_this_machine() -> u128 {
    // SAFETY: two questions to the system that take a name and give a number, or -1.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (u128::try_from(pages), u128::try_from(page)) {
        (Ok(pages), Ok(page)) if pages > 0 && page > 0 => pages * page,
        _ => UNKNOWN_MEMORY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::network::{Activation, Distribution};

    fn shape(hidden: &[usize]) -> NetworkShape {
        NetworkShape {
            observation_len: 5,
            hidden: hidden.to_vec(),
            activation: Activation::Tanh,
            distribution: Distribution::Categorical { n: 3 },
        }
    }

    #[test]
    fn parameters_are_as_many_as_the_networks_have() {
        for hidden in [&[][..], &[8], &[8, 3], &[64, 64, 32]] {
            assert_eq!(parameters(&shape(hidden)), shape(hidden).layout().len as u128, "{hidden:?}");
        }
    }

    #[test]
    fn what_no_machine_holds_is_refused_and_nothing_overflows() {
        assert!(check(&shape(&[64, 64]), 32_768).is_ok());
        let wide = [65_536; 40];
        for (hidden, samples) in [
            (&wide[..], 1),
            (&[usize::MAX, usize::MAX], 1),
            (&[64], u128::from(u64::MAX)),
            (&[64], u128::MAX),
        ] {
            let text = check(&shape(hidden), samples).unwrap_err().to_string();
            assert!(text.contains("--hidden") && text.contains("--rollout"), "{text}");
        }
    }

    #[test]
    fn the_bound_is_the_memory() {
        let bytes = |samples: u128| 4 * (12 * parameters(&shape(&[8])) + 15 * samples);
        assert!(fits(&shape(&[8]), 1000, bytes(1000)).is_ok());
        assert!(fits(&shape(&[8]), 1001, bytes(1000)).is_err());
        assert!((1 << 26..1 << 50).contains(&of_this_machine()), "{}", of_this_machine());
    }
}
