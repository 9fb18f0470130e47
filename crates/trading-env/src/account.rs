//! Cash and shares in double precision, and how an order changes them. What every step reads is the account;
//! what only orders change is its ledger, which lies elsewhere, so that the accounts of thousands of environments
//! fit into a cache.

use crate::costs::{Charge, Costs, Side};
use crate::environment::Fill;
use crate::snapshot::{Reader, Writer};

/// Rounds of the fixed point that finds an order's size; one or two are enough except at a kink of the charges.
const SIZE_ROUNDS: usize = 8;
/// When the size is found, as a fraction of equity; a tenth of the margin.
const SIZE_PRECISION: f64 = 1e-13;
/// How far below the exact size an order stays, so that rounding never makes a full long borrow.
const SIZE_MARGIN: f64 = 1e-12;

/// What orders meet in the market.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// The charges.
    pub charge: Charge,
    /// How much worse than the bar's price a fill is, as a fraction of it.
    pub slippage: f64,
    /// Whether shares come whole.
    pub whole_shares: bool,
}

/// One account in one symbol.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Account {
    /// Money; the proceeds of a short sale are in it.
    pub cash: f64,
    /// Shares held; negative if short.
    pub shares: f64,
    /// The average price at which the shares came in.
    pub entry_price: f64,
}

/// What became of an account's orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ledger {
    /// What trading cost so far, by kind.
    pub costs: Costs,
    /// How many orders were filled.
    pub n_trades: u32,
    /// The value of all that was bought and sold, at the bars' prices.
    pub traded_value: f64,
    /// The session in which the depository last charged.
    depository_session: i32,
}

impl Account {
    /// An account that holds `capital` in money.
    pub fn new(capital: f64) -> Self {
        Self { cash: capital, shares: 0.0, entry_price: 0.0 }
    }

    /// What the account is worth if a share is worth `price`.
    pub fn equity(&self, price: f64) -> f64 {
        self.cash + self.shares * price
    }

    /// What the held shares gained since they came in, at `price`.
    pub fn unrealised(&self, price: f64) -> f64 {
        self.shares * (price - self.entry_price)
    }

    /// Brings the position to `level` times the equity that is left after this order's own costs, so that
    /// `level` 1 spends all the money and never more. `price` is the bar's; the fill is worse by the slippage.
    pub fn trade_to(
        &mut self,
        ledger: &mut Ledger,
        level: f64,
        price: f64,
        session: i32,
        terms: &Terms,
    ) -> Fill {
        let sold_today = session == ledger.depository_session;
        let target_shares = self.target_shares(level, price, sold_today, terms);
        let bought = target_shares - self.shares;
        if bought == 0.0 {
            return Fill::default();
        }
        let (costs, fill_price) = self.order_costs(bought, price, sold_today, terms);
        if costs.depository > 0.0 {
            ledger.depository_session = session;
        }
        self.entry_price = if target_shares == 0.0 {
            0.0
        } else if self.shares * target_shares <= 0.0 {
            fill_price
        } else if target_shares.abs() > self.shares.abs() {
            (self.shares * self.entry_price + bought * fill_price) / target_shares
        } else {
            self.entry_price
        };
        self.cash -= bought * fill_price + costs.charges();
        self.shares = target_shares;
        ledger.costs += costs;
        ledger.n_trades += 1;
        ledger.traded_value += bought.abs() * price;
        Fill { shares: bought, price: fill_price }
    }

    /// The value of what the account owes: shares at `price`, or money.
    pub fn borrowed(&self, price: f64) -> f64 {
        if self.shares < 0.0 { -self.shares * price } else { (-self.cash).max(0.0) }
    }

    /// Pays whoever lent shares or money.
    pub fn pay_for_borrowing(&mut self, ledger: &mut Ledger, amount: f64) {
        self.cash -= amount;
        ledger.costs.borrowing += amount;
    }

    fn target_shares(&self, level: f64, price: f64, sold_today: bool, terms: &Terms) -> f64 {
        if level == 0.0 {
            return 0.0;
        }
        let equity_before = self.equity(price);
        // What is left if the order is sized on `equity`: the answer is where the two are equal.
        let left = |equity: f64| {
            let shares = level * equity / price;
            equity_before - self.order_costs(shares - self.shares, price, sold_today, terms).0.total()
        };
        let mut equity_after = equity_before;
        for _ in 0..SIZE_ROUNDS {
            let once = left(equity_after);
            if (once - equity_after).abs() <= SIZE_PRECISION * equity_before.abs() {
                break;
            }
            let twice = left(once);
            // Charges are straight lines of the value with few kinks, where this step is exact (Aitken 1926).
            let bend = (equity_after - once) - (once - twice);
            equity_after = if bend == 0.0 { twice } else { twice - (once - twice) * (once - twice) / bend };
        }
        let shares = level * equity_after * (1.0 - SIZE_MARGIN) / price;
        if !terms.whole_shares {
            return shares;
        }
        // Where the exact size is whole, the margin must not cost a share: one more is taken if all of it is paid for.
        let (whole, more) = (shares.trunc(), shares.trunc() + level.signum());
        let costs = self.order_costs(more - self.shares, price, sold_today, terms).0.total();
        if more.abs() * price <= level.abs() * (equity_before - costs) { more } else { whole }
    }

    /// What buying `bought` shares costs (selling, if negative), and the price of the fill; `sold_today` if the
    /// depository has charged for this day.
    #[inline]
    fn order_costs(&self, bought: f64, price: f64, sold_today: bool, terms: &Terms) -> (Costs, f64) {
        let (side, fill_price) = if bought > 0.0 {
            (Side::Buy, price * (1.0 + terms.slippage))
        } else {
            (Side::Sell, price * (1.0 - terms.slippage))
        };
        let sells_held_shares = side == Side::Sell && self.shares > 0.0 && !sold_today;
        let mut costs = terms.charge.of(side, bought.abs() * fill_price, sells_held_shares);
        costs.slippage = bought.abs() * price * terms.slippage;
        (costs, fill_price)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { costs: Costs::default(), n_trades: 0, traded_value: 0.0, depository_session: i32::MIN }
    }
}

impl Ledger {
    /// Writes `account` with all that became of its orders.
    pub fn save(&self, account: &Account, out: &mut Writer) {
        out.f64s(&[account.cash, account.shares, account.entry_price, self.traded_value]);
        out.f64s(&self.costs.to_array());
        out.u32(self.n_trades);
        out.u32(self.depository_session as u32);
    }

    /// The account and the ledger that [`Ledger::save`] wrote.
    pub fn load(input: &mut Reader<'_>) -> Option<(Account, Self)> {
        let [cash, shares, entry_price, traded_value] = input.f64s()?;
        let ledger = Self {
            traded_value,
            costs: Costs::from_array(input.f64s()?),
            n_trades: input.u32()?,
            depository_session: input.u32()? as i32,
        };
        Some((Account { cash, shares, entry_price }, ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CostModel;

    fn terms(costs: &str, slippage_bps: f64, whole_shares: bool) -> Terms {
        let charge = CostModel::parse(costs).unwrap().charges()[0];
        Terms { charge, slippage: slippage_bps * 1e-4, whole_shares }
    }

    #[test]
    fn a_full_long_spends_everything_and_borrows_nothing() {
        for (model, bps) in [("none", 0.0), ("bps:10", 0.0), ("nse-delivery", 5.0), ("nse-intraday", 100.0)] {
            for price in [0.05, 7.3, 333.35, 91_234.5] {
                let terms = terms(model, bps, false);
                let (mut account, mut ledger) = (Account::new(100_000.0), Ledger::default());
                account.trade_to(&mut ledger, 1.0, price, 0, &terms);
                assert!((0.0..1e-6).contains(&account.cash), "{model} {price}: cash {}", account.cash);
                let spent = 100_000.0 - account.equity(price);
                assert!((spent - ledger.costs.total()).abs() < 1e-6, "{model} {price}");
            }
        }
    }

    #[test]
    fn a_long_borrows_nothing_where_charges_have_a_kink() {
        // The brokerage reaches its cap at 66,667 rupees; a few rupees around it in small steps.
        let terms = terms("nse-intraday", 3.0, false);
        for step in 0..4000 {
            let (mut account, mut ledger) =
                (Account::new(66_680.0 + f64::from(step) * 0.01), Ledger::default());
            account.trade_to(&mut ledger, 1.0, 123.45, 0, &terms);
            assert!((0.0..1e-6).contains(&account.cash), "step {step}: cash {}", account.cash);
        }
    }

    #[test]
    fn whole_shares_are_as_many_as_the_money_pays_for() {
        let shares = |capital: f64, level: f64, price: f64, costs: &str| {
            let mut account = Account::new(capital);
            account.trade_to(&mut Ledger::default(), level, price, 0, &terms(costs, 0.0, true));
            assert!(!(0.0..=1.0).contains(&level) || account.cash >= 0.0, "cash {}", account.cash);
            account.shares
        };
        assert_eq!(shares(100_000.0, 1.0, 500.0, "none"), 200.0);
        assert_eq!(shares(100_000.0, -1.0, 500.0, "none"), -200.0);
        assert_eq!(shares(100_000.0, 0.5, 500.0, "none"), 100.0);
        assert_eq!(shares(100_000.0, 2.0, 500.0, "none"), 400.0);
        assert_eq!(shares(99_999.99, 1.0, 500.0, "none"), 199.0);
        // 99 shares at 1,000 and a hundredth of that are 99,990; one more would be 101,000.
        assert_eq!(shares(100_000.0, 1.0, 1_000.0, "bps:100"), 99.0);
        assert_eq!(shares(101_000.0, 1.0, 1_000.0, "bps:100"), 100.0);
        assert_eq!(shares(100.0, 1.0, 500.0, "none"), 0.0);
    }

    #[test]
    fn a_delivery_round_trip_in_whole_shares_is_right_to_the_paisa() {
        let terms = terms("nse-delivery", 0.0, true);
        let (mut account, mut ledger) = (Account::new(100_000.0), Ledger::default());
        // 1.0011874 of a share's price is paid a share: 332 shares at 300 are 99,600.00, and cost
        // STT 99.60 + stamp 14.94 + (exchange 3.05772 + SEBI 0.0996) × 1.18 = 118.2656376.
        let fill = account.trade_to(&mut ledger, 1.0, 300.0, 0, &terms);
        assert_eq!(fill, Fill { shares: 332.0, price: 300.0 });
        assert!((account.cash - (400.0 - 118.265_637_6)).abs() < 1e-9);
        // Sold at 310: 102,920.00, less STT 102.92, (3.159644 + 0.10292) × 1.18 = 3.84982552, depository 15.34.
        account.trade_to(&mut ledger, 0.0, 310.0, 1, &terms);
        assert!((account.cash - (281.734_362_4 + 102_920.0 - 102.92 - 3.849_825_52 - 15.34)).abs() < 1e-9);
        assert_eq!((account.shares, ledger.n_trades), (0.0, 2));
    }

    #[test]
    fn an_intraday_short_with_slippage_is_right_to_the_paisa() {
        let terms = terms("nse-intraday", 10.0, true);
        let (mut account, mut ledger) = (Account::new(50_000.0), Ledger::default());
        // Sold at 499.50: 99 shares give 49,450.50; brokerage 14.83515, STT 12.362625,
        // exchange and SEBI 1.56758085, GST 0.18 × 16.40273085.
        account.trade_to(&mut ledger, -1.0, 500.0, 0, &terms);
        assert_eq!(account.shares, -99.0);
        let charges = 14.83515 + 12.362_625 + 1.567_580_85 + 0.18 * 16.402_730_85;
        assert!((account.cash - (50_000.0 + 49_450.5 - charges)).abs() < 1e-9);
        assert!((ledger.costs.slippage - 99.0 * 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_depository_charges_once_a_day() {
        let terms = terms("nse-delivery", 0.0, false);
        let (mut account, mut ledger) = (Account::new(100_000.0), Ledger::default());
        for level in [1.0, 0.5, 0.0] {
            account.trade_to(&mut ledger, level, 100.0, 3, &terms);
        }
        assert_eq!(ledger.costs.depository, 15.34);
        account.trade_to(&mut ledger, 1.0, 100.0, 4, &terms);
        account.trade_to(&mut ledger, 0.0, 100.0, 4, &terms);
        assert_eq!(ledger.costs.depository, 30.68);
    }

    #[test]
    fn the_entry_price_averages_purchases_and_restarts_when_the_side_flips() {
        let terms = terms("none", 0.0, false);
        let (mut account, mut ledger) = (Account::new(1_000.0), Ledger::default());
        account.trade_to(&mut ledger, 0.5, 10.0, 0, &terms);
        account.trade_to(&mut ledger, 1.0, 20.0, 0, &terms);
        // 50 shares at 10, then 1,500 of equity buys 75 in all: 25 more at 20.
        assert!((account.entry_price - (50.0 * 10.0 + 25.0 * 20.0) / 75.0).abs() < 1e-9);
        account.trade_to(&mut ledger, -1.0, 20.0, 0, &terms);
        assert_eq!(account.entry_price, 20.0);
        assert_eq!(account.unrealised(21.0), account.shares);
    }
}
