//! The updates of the evolution strategies against independent ones in numpy (`evolution_reference.py`), to 1e-6:
//! several generations each, the noise handed over as it was drawn.

mod python;

use random::{Purpose, Stream};
use serde_json::{Map, Value, json};
use train::algorithms::ars::{Ars, ArsConfig};
use train::algorithms::cem::{Cem, CemConfig};
use train::algorithms::evolution::population::Population;
use train::algorithms::evolution::space::Space;
use train::algorithms::evolution::{Shown, Strategy};
use train::algorithms::openes::{OpenEs, OpenEsConfig};
use train::networks::network::{Activation, Distribution, NetworkShape};

const TOLERANCE: f64 = 1e-6;
const GENERATIONS: u64 = 5;
const PAIRS: usize = 12;

/// Lets a strategy learn from fitness made up, some of it equal; what numpy needs to do so too, and where the
/// centre (and what else `also` names) stood after each generation.
fn evolve(
    space: &Space,
    strategy: &mut dyn Strategy,
    also: Option<&str>,
) -> (Map<String, Value>, Vec<Vec<f32>>) {
    let mut centre = space.filled(0.2);
    let mut stream = Stream::new(5, Purpose::Test, 0, 0);
    let mut population = Population::new(space.clone(), PAIRS, 1, usize::MAX, 2).expect("threads");
    let (mut generations, mut stood) = (Vec::new(), Vec::new());
    let begun = centre.clone();
    for generation in 0..GENERATIONS {
        let done = generation as f64 / GENERATIONS as f64;
        let deviation = strategy.deviation(space, done);
        population.draw(3, generation, &centre, &deviation);
        let fitness: Vec<f64> = (0..2 * PAIRS).map(|_| (3.0 * stream.normal()).round()).collect();
        let delta: Vec<Vec<f32>> = (0..PAIRS)
            .map(|pair| {
                let one: Vec<f64> = (0..PAIRS).map(|other| f64::from(u8::from(other == pair))).collect();
                population.weighted_sum(&one, |delta| delta)
            })
            .collect();
        generations.push(json!({ "fitness": fitness, "delta": delta }));
        let shown =
            Shown { generation, done, deviation: &deviation, fitness: &fitness, population: &population };
        strategy.learn(&mut centre, &shown);
        let mut all = centre.clone();
        let kept = strategy.kept().into_iter().find(|(name, _)| Some(*name) == also);
        all.extend(kept.map_or_else(Vec::new, |(_, values)| values.clone()));
        stood.push(all);
    }
    let case = json!({ "centre": begun, "generations": generations });
    let Value::Object(case) = case else { panic!("not an object") };
    (case, stood)
}

#[test]
fn updates_are_those_of_numpy() {
    let Some(python) = python::with_numpy() else { return };
    let shape = NetworkShape {
        observation_len: 3,
        hidden: vec![7],
        activation: Activation::Tanh,
        distribution: Distribution::Categorical { n: 2 },
    };
    let space = Space::new(&shape);
    let openes = OpenEsConfig {
        learning_rate: 0.02.into(),
        weight_decay: 0.03,
        sigma: 0.07.into(),
        ..OpenEsConfig::default()
    };
    let cem = CemConfig { elite: 0.3, ..CemConfig::default() };
    let ars = ArsConfig { learning_rate: 0.05.into(), top: 0.4, sigma: 0.07.into(), ..ArsConfig::default() };

    let (mut cases, mut found) = (Map::new(), Vec::new());
    let mut add = |name: &'static str, strategy: &mut dyn Strategy, also, own: Value| {
        let (mut case, stood) = evolve(&space, strategy, also);
        case.extend(own.as_object().cloned().unwrap_or_default());
        cases.insert(name.to_owned(), Value::Object(case));
        found.push((name, stood));
    };
    let own = json!({ "sigma": 0.07, "learning_rate": 0.02, "weight_decay": 0.03 });
    add("openes", &mut OpenEs::new(&openes, space.len), None, own);
    add("cem", &mut Cem::new(&cem, &space), Some("variance"), json!({ "elite": 0.3 }));
    add("ars", &mut Ars(&ars), None, json!({ "sigma": 0.07, "learning_rate": 0.05, "top": 0.4 }));

    let answer = python::answer(&python, "evolution_reference.py", &Value::Object(cases));
    for (name, stood) in found {
        let mut before = space.filled(0.2);
        for (generation, stood) in stood.iter().enumerate() {
            let expected: Vec<f64> =
                serde_json::from_value(answer[name][generation].clone()).expect("numbers");
            assert_eq!(stood.len(), expected.len(), "{name}");
            for (i, (found, expected)) in stood.iter().zip(&expected).enumerate() {
                let apart = (f64::from(*found) - expected).abs();
                assert!(
                    apart < TOLERANCE,
                    "{name} generation {generation} number {i}: {found}, not {expected}"
                );
            }
            let moved = stood.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 0.005, "{name}: an update that moves nothing proves nothing: {moved}");
            before[..space.len].copy_from_slice(&stood[..space.len]);
        }
    }
}
