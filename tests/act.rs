//! `train act` holds what `train eval` held, and `train ppo` judges the policy that the validation days chose.

use std::fs;

use pipe_tests::{Place, Run, bin, left};
use serde_json::Value;

/// Rows of a CSV file, as the named columns.
fn columns<const N: usize>(csv: &str, names: [&str; N]) -> Vec<[String; N]> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let at = names.map(|name| header.iter().position(|column| *column == name).expect("the column"));
    lines.map(|line| at.map(|i| line[i].to_owned())).collect()
}

#[test]
fn act_decides_what_the_evaluation_decided() {
    let place = Place::new();
    let (features, out, judged) = (place.features("BPCL", 30), place.text("runs"), place.text("judged"));
    let envpool = bin("envpool").display().to_string();
    let server = ["--", &envpool, "--market", "nse", "--test-days", "5", "--envs", "16", &features];
    let step = ["--timesteps", "8192", "--envs", "16", "--rollout", "64", "--device", "cpu"];
    Run::new("train").args(["ppo", "--quiet", "--out", &out]).args(step).args(server).succeeds();
    let latest = format!("{out}/latest");

    Run::new("train").args(["eval", "--checkpoint", &latest, "--out", &judged]).args(server).succeeds();
    let act = |flags: &[&str]| {
        let run = Run::new("train").args(["act", "--checkpoint", &latest]).args(flags.iter().copied());
        run.args(server).succeeds().stdout
    };
    let positions = fs::read_to_string(format!("{judged}/positions.csv")).expect("positions");
    let names = ["time", "symbol", "target"];
    let (evaluated, acted) = (columns(&positions, names), columns(&act(&[]), names));
    assert_eq!(evaluated.len(), 5 * 75, "five days of five-minute bars");
    assert_eq!(acted.len(), evaluated.len());
    // An evaluation closes its account at the last bar; whoever acts decides there too.
    let (last_evaluated, all_but_last) = evaluated.split_last().expect("rows");
    let (last_acted, before) = acted.split_last().expect("rows");
    assert_eq!(before, all_but_last);
    assert!(last_evaluated[2].is_empty() && !last_acted[2].is_empty(), "{last_evaluated:?} {last_acted:?}");
    let different: std::collections::BTreeSet<&String> = before.iter().map(|row| &row[2]).collect();
    assert!(different.len() > 1, "a policy that never changes its mind proves little");

    assert_eq!(columns(&act(&["--last"]), names), std::slice::from_ref(last_acted));
    let dates = format!("{0}..{0}", &last_acted[0][..10]);
    assert_eq!(columns(&act(&["--range", &dates]), names).len(), 75);
    let wrong = ["act", "--checkpoint", &latest, "--range", "tomorrow"];
    Run::new("train").args(wrong).args(server).fails(2);
}

#[test]
fn validation_days_choose_the_policy_that_is_judged() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 30), place.text("runs"));
    let envpool = bin("envpool").display().to_string();
    let server = ["--", &envpool, "--market", "nse", "--test-days", "5", "--envs", "16"];
    let server = [&server[..], &["--validation-days", "5", &features]].concat();
    // A learning rate this high for this long spoils the policy now and again, so that the last is not the best.
    let step = ["--timesteps", "65536", "--envs", "16", "--rollout", "64", "--device", "cpu", "--keep", "1"];
    let summary = Run::new("train")
        .args(["ppo", "--quiet", "--out", &out, "--eval-every", "4", "--learning-rate", "0.01..0"])
        .args(step)
        .args(server.iter().copied())
        .succeeds()
        .stdout;
    let latest = format!("{out}/latest");
    let report = left::report(latest.as_ref());

    // The one with the highest score was judged, is kept, and is what `best` and the run stand for.
    let scores = report["validation"]["scores"].as_array().expect("scores");
    assert_eq!(scores.len(), 16, "64 updates, every fourth one");
    let score = |look: &Value| look["total_return"].as_f64().expect("a return");
    let best =
        scores.iter().fold(&scores[0], |best, look| if score(look) > score(best) { look } else { best });
    let timesteps = best["timesteps"].as_u64().expect("steps");
    assert_eq!(report["validation"]["best_timesteps"], timesteps);
    assert!(timesteps < 65_536, "a last policy that is also the best proves little: {scores:?}");
    let checkpoint = report["checkpoint"].as_str().expect("a checkpoint");
    assert!(checkpoint.ends_with(&format!("checkpoints/{timesteps}")), "{checkpoint}");
    assert_eq!(
        fs::read_link(format!("{latest}/checkpoints/best")).expect("a link"),
        fs::canonicalize(checkpoint).expect("it").file_name().map(std::path::PathBuf::from).expect("a name")
    );
    assert!(summary.contains("validation  "), "{summary}");
    assert!(summary.lines().count() < 25, "{summary}");

    // Judged again by the run's name, it is the same policy.
    let judged = place.text("judged");
    let again = ["eval", "--checkpoint", &latest, "--out", &judged];
    Run::new("train").args(again).args(server.iter().copied()).succeeds();
    assert_eq!(left::report(judged.as_ref())["policy"], report["policy"]);
}
