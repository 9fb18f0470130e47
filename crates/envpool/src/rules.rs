//! The flags of the rules, made into rules once the bars are known.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cli::UsageError;
use trading_env::{
    CostModel, EpisodeLength, FillAt, Holding, PortfolioRules, RateCard, Reward, StockTradingEnv2Rules,
    Targets,
};

use crate::cli::{ActionKind, Fill, MarketName, RewardKind, RuleArguments, RuleSet, Serve, Short};
use crate::config::Rules;

/// The weight of the latest return that Moody and Saffell use.
const SHARPE_RATE: f64 = 0.01;

/// What the command line says of the rules, with every file read.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    arguments: RuleArguments,
    costs: Option<Costs>,
    window: usize,
}

#[derive(Debug, Clone)]
enum Costs {
    Model(CostModel),
    /// A rate card, whose column depends on how long positions are held.
    Card {
        name: String,
        text: String,
    },
}

impl RuleOptions {
    /// Checks what can be checked without the bars, and reads the rate card.
    pub fn new(arguments: &Serve) -> Result<Self> {
        let rules = &arguments.rules;
        if let Some(name) = &arguments.env {
            refuse_all(&format!("--env {name}"), &only_for_markets(arguments))?;
        }
        match rules.rule_set {
            RuleSet::Portfolio => refuse_all("--rules portfolio", &only_for_stock_trading_env2(rules))?,
            RuleSet::StockTradingEnv2 => {
                refuse_all("--rules stock-trading-env2", &only_for_portfolio(arguments))?;
            }
        }
        let costs = rules.costs.as_deref().map(read_costs).transpose()?;
        Ok(Self { arguments: rules.clone(), costs, window: arguments.window as usize })
    }

    /// Whether the market is the National Stock Exchange of India.
    pub fn is_nse(&self) -> bool {
        self.arguments.market == MarketName::Nse
    }

    /// The rules for bars that are, or are not, parts of a session.
    pub fn rules(&self, is_intraday: bool, length: Option<EpisodeLength>) -> Result<Rules> {
        Ok(match self.arguments.rule_set {
            RuleSet::Portfolio => Rules::Portfolio(Box::new(self.portfolio(is_intraday)?)),
            RuleSet::StockTradingEnv2 => {
                let column = self.arguments.price_column.clone().unwrap_or_else(|| "close".into());
                Rules::StockTradingEnv2(self.stock_trading_env2(length)?, column)
            }
        })
    }

    fn portfolio(&self, is_intraday: bool) -> Result<PortfolioRules> {
        let options = &self.arguments;
        let market = match options.market {
            MarketName::Nse => PortfolioRules::nse(is_intraday)?,
            MarketName::None => PortfolioRules::default(),
        };
        let allows_short = options.short.map_or(market.allows_short, |short| short == Short::Allow);
        let square_off = match (options.square_off, options.no_square_off) {
            (true, _) => true,
            (_, true) => false,
            _ => market.square_off,
        };
        let rules = PortfolioRules {
            targets: self.targets(allows_short)?,
            allows_short,
            leverage: options.leverage.unwrap_or(market.leverage),
            fill: match options.fill {
                None | Some(Fill::NextOpen) => FillAt::NextOpen,
                Some(Fill::NextClose) => FillAt::NextClose,
                Some(Fill::SameClose) => FillAt::SameClose,
            },
            costs: match &self.costs {
                None => market.costs,
                Some(Costs::Model(model)) => model.clone(),
                Some(Costs::Card { name, text }) => {
                    let holding = if square_off { Holding::Intraday } else { Holding::Delivery };
                    CostModel::Card(RateCard::parse(name, text, holding).map_err(usage)?)
                }
            },
            borrowing_bps_per_year: options.borrow_bps_per_year.unwrap_or(market.borrowing_bps_per_year),
            slippage_bps: options.slippage_bps.unwrap_or(market.slippage_bps),
            square_off,
            whole_shares: options.whole_shares,
            capital: options.capital,
            ruin: options.ruin.unwrap_or(market.ruin),
            window: self.window,
            reward: self.reward()?,
        };
        rules.validate().map_err(usage)?;
        Ok(rules)
    }

    fn targets(&self, allows_short: bool) -> Result<Targets, UsageError> {
        let levels = &self.arguments.levels;
        match (self.arguments.actions.unwrap_or(ActionKind::Discrete), levels) {
            (ActionKind::Discrete, Some(levels))
                if !allows_short && levels.iter().any(|&level| level < 0.0) =>
            {
                let text = format!("--levels {levels:?} holds short positions, which these rules forbid");
                Err(UsageError(format!("{text} (drop them, or allow them with --short allow)")))
            }
            (ActionKind::Discrete, Some(levels)) => Ok(Targets::Levels(levels.clone())),
            (ActionKind::Discrete, None) => Ok(Targets::default_levels(allows_short)),
            (_, Some(_)) => {
                Err(UsageError("--levels are for --actions discrete (leave one of the two out)".into()))
            }
            (ActionKind::Position, None) => Ok(Targets::Position),
            (ActionKind::DirectionSize, None) => Ok(Targets::DirectionSize),
        }
    }

    fn reward(&self) -> Result<Reward, UsageError> {
        let options = &self.arguments;
        let kind = options.reward.unwrap_or(RewardKind::LogReturn);
        let only_for = |flag: &str, reward: &str| Err(UsageError(format!("{flag} is for --reward {reward}")));
        if options.sharpe_rate.is_some() && kind != RewardKind::DifferentialSharpe {
            return only_for("--sharpe-rate", "differential-sharpe");
        }
        if options.drawdown_penalty.is_some() && kind != RewardKind::DrawdownPenalised {
            return only_for("--drawdown-penalty", "drawdown-penalised");
        }
        Ok(match kind {
            RewardKind::LogReturn => Reward::LogReturn,
            RewardKind::DifferentialSharpe => {
                Reward::DifferentialSharpe { rate: options.sharpe_rate.unwrap_or(SHARPE_RATE) }
            }
            RewardKind::DrawdownPenalised => {
                Reward::DrawdownPenalised { weight: options.drawdown_penalty.unwrap_or(1.0) }
            }
        })
    }

    fn stock_trading_env2(&self, length: Option<EpisodeLength>) -> Result<StockTradingEnv2Rules> {
        let options = &self.arguments;
        let default = StockTradingEnv2Rules::default();
        let rules = StockTradingEnv2Rules {
            capital: options.capital,
            largest_short_value: options.short_limit.unwrap_or(options.capital),
            cost_rate: match &self.costs {
                None | Some(Costs::Model(CostModel::Free)) => 0.0,
                Some(Costs::Model(CostModel::Bps(bps))) => bps * 1e-4,
                Some(_) => {
                    return Err(UsageError("--costs: stock-trading-env2 knows none and bps:N".into()).into());
                }
            },
            buy_threshold: options.buy_threshold.unwrap_or(default.buy_threshold),
            sell_threshold: options.sell_threshold.unwrap_or(default.sell_threshold),
            lags: options.lags.unwrap_or(default.lags),
            episode_limit: match length {
                None => default.episode_limit,
                Some(EpisodeLength::Bars(row)) => row,
                Some(EpisodeLength::Session | EpisodeLength::Full) => {
                    let text = "--episode-len: stock-trading-env2 takes the row at which an episode is cut";
                    return Err(UsageError(text.into()).into());
                }
            },
            holds: false,
        };
        rules.validate().map_err(usage)?;
        Ok(rules)
    }
}

fn usage(error: impl std::fmt::Display) -> UsageError {
    UsageError(error.to_string())
}

/// A model by its name, or a rate card in a file.
fn read_costs(text: &str) -> Result<Costs> {
    match CostModel::parse(text) {
        Ok(model) => Ok(Costs::Model(model)),
        Err(error) if !Path::new(text).exists() => Err(UsageError(format!("--costs: {error}")).into()),
        Err(_) => {
            let path = Path::new(text);
            let card = fs::read_to_string(path).with_context(|| format!("--costs {text}"))?;
            let name =
                path.file_stem().map_or_else(|| text.into(), |stem| stem.to_string_lossy().into_owned());
            Ok(Costs::Card { name, text: card })
        }
    }
}

fn refuse_all(rules: &str, given: &[(&str, bool)]) -> Result<(), UsageError> {
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(UsageError(format!("{flag} has no meaning with {rules} (leave one of the two out)")))
        }
    }
}

fn only_for_stock_trading_env2(rules: &RuleArguments) -> Vec<(&'static str, bool)> {
    vec![
        ("--short-limit", rules.short_limit.is_some()),
        ("--buy-threshold", rules.buy_threshold.is_some()),
        ("--sell-threshold", rules.sell_threshold.is_some()),
        ("--lags", rules.lags.is_some()),
        ("--price-column", rules.price_column.is_some()),
    ]
}

fn only_for_portfolio(arguments: &Serve) -> Vec<(&'static str, bool)> {
    let rules = &arguments.rules;
    vec![
        ("--market", rules.market == MarketName::Nse),
        ("--actions", rules.actions.is_some()),
        ("--levels", rules.levels.is_some()),
        ("--leverage", rules.leverage.is_some()),
        ("--fill", rules.fill.is_some()),
        ("--slippage-bps", rules.slippage_bps.is_some()),
        ("--borrow-bps-per-year", rules.borrow_bps_per_year.is_some()),
        ("--short", rules.short.is_some()),
        ("--square-off", rules.square_off),
        ("--no-square-off", rules.no_square_off),
        ("--whole-shares", rules.whole_shares),
        ("--ruin", rules.ruin.is_some()),
        ("--reward", rules.reward.is_some()),
        ("--sharpe-rate", rules.sharpe_rate.is_some()),
        ("--drawdown-penalty", rules.drawdown_penalty.is_some()),
        ("--window", arguments.window != 1),
        ("--start", arguments.start != crate::cli::StartKind::Random),
    ]
}

/// What an environment with a known answer has none of: days, an account, features.
fn only_for_markets(arguments: &Serve) -> Vec<(&'static str, bool)> {
    let rules = &arguments.rules;
    let mut given = only_for_portfolio(arguments);
    given.extend(only_for_stock_trading_env2(rules));
    given.extend([
        ("--rules", rules.rule_set != RuleSet::Portfolio),
        ("--costs", rules.costs.is_some()),
        ("--capital", rules.capital.to_bits() != PortfolioRules::default().capital.to_bits()),
        ("--episode-len", arguments.episode_len.is_some()),
        ("--test-days", arguments.test_days > 0),
        ("--validation-days", arguments.validation_days > 0),
        ("--embargo", arguments.embargo > 0),
        ("--scaler", arguments.scaler.is_some()),
    ]);
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser;

    fn rules(flags: &[&str], is_intraday: bool) -> Result<Rules> {
        let arguments = Arguments::try_parse_from([&["envpool", "a.parquet"], flags].concat()).unwrap();
        RuleOptions::new(&arguments.serve)?.rules(is_intraday, None)
    }

    fn portfolio(flags: &[&str], is_intraday: bool) -> PortfolioRules {
        match rules(flags, is_intraday).unwrap() {
            Rules::Portfolio(rules) => *rules,
            other @ Rules::StockTradingEnv2(..) => panic!("{other:?}"),
        }
    }

    fn check_rules(flags: &[&str], is_intraday: bool, levels: &[f64], costs: &str, square_off: bool) {
        let rules = portfolio(flags, is_intraday);
        assert_eq!(
            (rules.targets, rules.square_off),
            (Targets::Levels(levels.to_vec()), square_off),
            "{flags:?}"
        );
        assert_eq!(rules.costs.to_string(), costs, "{flags:?}");
    }

    #[test]
    fn the_market_sets_the_rules_and_options_overrule_it() {
        let nse = ["--market", "nse"];
        check_rules(&[], true, &[-1.0, 0.0, 1.0], "bps:10", false);
        check_rules(&nse, true, &[-1.0, 0.0, 1.0], "nse-intraday", true);
        check_rules(&nse, false, &[0.0, 1.0], "nse-delivery", false);
        check_rules(&[&nse[..], &["--short", "forbid"]].concat(), true, &[0.0, 1.0], "nse-intraday", true);
        let overnight = [&nse[..], &["--no-square-off"]].concat();
        check_rules(&overnight, true, &[-1.0, 0.0, 1.0], "nse-intraday", false);
        check_rules(&["--costs", "none", "--levels=-1,1"], true, &[-1.0, 1.0], "none", false);
    }

    #[test]
    fn what_a_known_answer_has_none_of_is_refused_rather_than_ignored() {
        let new = |flags: &[&str]| {
            let line = [&["envpool", "--env", "cartpole"], flags].concat();
            RuleOptions::new(&Arguments::try_parse_from(line).unwrap().serve)
        };
        assert!(new(&["--envs", "8", "--seed", "3", "--threads", "1"]).is_ok());
        for flags in [
            &["--market", "nse"][..],
            &["--test-days", "3"],
            &["--reward", "drawdown-penalised"],
            &["--window", "2"],
            &["--scaler", "none"],
            &["--capital", "5000"],
            &["--rules", "stock-trading-env2"],
            &["--lags", "3"],
        ] {
            let error = new(flags).unwrap_err();
            assert!(
                error.to_string().contains(flags[0]) && error.to_string().contains("--env cartpole"),
                "{error}"
            );
            assert!(error.is::<UsageError>());
        }
    }

    #[test]
    fn a_rate_card_is_read_from_a_file_and_its_column_follows_the_rules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.toml");
        let card = include_str!("../../trading-env/rates/nse-2024-10-01.toml");
        fs::write(&path, card.replace("brokerage_cap_rupees = 20.0", "brokerage_cap_rupees = 5.0")).unwrap();
        let path = path.to_str().unwrap();
        check_rules(&["--costs", path], true, &[-1.0, 0.0, 1.0], "broker-delivery", false);
        check_rules(&["--costs", path, "--square-off"], true, &[-1.0, 0.0, 1.0], "broker-intraday", true);
        let holding = portfolio(&["--costs", path, "--square-off"], true).for_holding();
        assert_eq!(holding.costs.in_words(), "broker-delivery, rates of 2024-10-01");
        fs::write(path, "[delivery]\n").unwrap();
        let error = rules(&["--costs", path], true).unwrap_err();
        assert!(error.to_string().contains("broker") && error.is::<UsageError>(), "{error}");
    }

    #[test]
    fn constants_of_stock_trading_env2_have_their_defaults() {
        let Rules::StockTradingEnv2(rules, column) = rules(&["--rules", "stock-trading-env2"], true).unwrap()
        else {
            panic!("other rules")
        };
        assert_eq!((rules, column.as_str()), (StockTradingEnv2Rules::default(), "close"));
        let flags = ["--rules", "stock-trading-env2", "--capital", "5e4", "--costs", "bps:3", "--lags", "2"];
        let Rules::StockTradingEnv2(rules, _) = self::rules(&flags, true).unwrap() else {
            panic!("other rules")
        };
        assert_eq!((rules.largest_short_value, rules.lags), (50_000.0, 2));
        assert!((rules.cost_rate - 0.000_3).abs() < 1e-15);
    }
}
