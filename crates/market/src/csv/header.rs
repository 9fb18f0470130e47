//! Which column is which, recognised by name in any order and case, or as the user says.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;

/// Where the columns of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// When a bar happened.
    pub time: usize,
    /// The time of day, where it stands apart from the date.
    pub time_of_day: Option<usize>,
    /// First price.
    pub open: usize,
    /// Highest price.
    pub high: usize,
    /// Lowest price.
    pub low: usize,
    /// Last price, unadjusted for dividends where both stand in the file.
    pub close: usize,
    /// Shares traded, where the file says.
    pub volume: Option<usize>,
    /// The symbol, where it is a column.
    pub symbol: Option<usize>,
}

/// What the user says of columns that their names do not show, as in `ts=Date,close=LTP`: the header of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColumnNames(BTreeMap<&'static str, String>);

/// What a column may be.
const ROLES: [&str; 8] = ["ts", "time_of_day", "open", "high", "low", "close", "volume", "symbol"];

impl FromStr for ColumnNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = BTreeMap::new();
        for entry in text.split(',') {
            let (role, name) = entry
                .split_once('=')
                .ok_or_else(|| format!("\"{entry}\" does not read COLUMN=HEADER, such as close=LTP"))?;
            let role = ROLES
                .iter()
                .find(|known| **known == role.trim())
                .ok_or_else(|| format!("\"{role}\" is no column that bars have ({})", ROLES.join(", ")))?;
            if names.insert(*role, name.trim().to_owned()).is_some() {
                return Err(format!("says twice which column is {role}"));
            }
        }
        Ok(Self(names))
    }
}

const DATE: &[&str] = &["datetime", "date time", "timestamp", "ts", "date", "trade date", "time"];
const TIME_OF_DAY: &[&str] = &["time"];
const OPEN: &[&str] = &["open", "open price", "o"];
const HIGH: &[&str] = &["high", "high price", "h"];
const LOW: &[&str] = &["low", "low price", "l"];
const CLOSE: &[&str] = &["close", "close price", "c", "adj close"];
const VOLUME: &[&str] = &["volume", "vol", "v", "total traded quantity", "traded quantity"];
const SYMBOL: &[&str] = &["symbol", "ticker", "instrument", "tradingsymbol"];

impl Columns {
    /// Recognises the columns of a header row. The error says which is missing and what there is.
    pub fn recognise<'a>(names: impl Iterator<Item = &'a str>, said: &ColumnNames) -> Result<Self, String> {
        let names: Vec<String> = names.map(normalise).collect();
        // Where several aliases stand in one file the order of the aliases decides, not of the columns: so
        // `close` wins over `adj close`.
        let find = |role: &str, aliases: &[&str]| match said.0.get(role) {
            Some(name) => match names.iter().position(|known| *known == normalise(name)) {
                Some(column) => Ok(Some(column)),
                None => Err(format!(
                    "no column \"{name}\" among \"{}\" (mend --columns {role}={name})",
                    names.join(",")
                )),
            },
            None => Ok(aliases.iter().find_map(|alias| names.iter().position(|known| known == alias))),
        };
        let missing = |role: &str, what: &str, aliases: &[&str]| {
            format!(
                "no {what} column among \"{}\" (a header row must name {what}: {}; or say which it is with --columns \
                 {role}=HEADER)",
                names.join(","),
                aliases.join(", ")
            )
        };
        let need =
            |role: &str, aliases: &[&str]| find(role, aliases)?.ok_or_else(|| missing(role, role, aliases));
        // A table written with its index has no name above it (pandas).
        let unnamed = names.first().filter(|name| name.is_empty()).map(|_| 0);
        let time = find("ts", DATE)?.or(unnamed);
        let close = need("close", CLOSE)?;
        let time = time.ok_or_else(|| missing("ts", "time", DATE))?;
        let is_said = said.0.contains_key("time_of_day");
        let time_of_day = find("time_of_day", TIME_OF_DAY)?
            .filter(|&column| column != time && (is_said || names[time] != "time"));
        Ok(Self {
            time,
            time_of_day,
            open: need("open", OPEN)?,
            high: need("high", HIGH)?,
            low: need("low", LOW)?,
            close,
            volume: find("volume", VOLUME)?,
            symbol: find("symbol", SYMBOL)?.filter(|&column| column != time),
        })
    }
}

/// Lower case, with every separator a single blank and without a byte order mark.
pub fn normalise(name: &str) -> String {
    let words = name.trim_start_matches('\u{feff}').split([' ', '_', '-', '.', '\t', '/']);
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(header: &str) -> Result<Columns, String> {
        Columns::recognise(header.split(','), &ColumnNames::default())
    }

    #[test]
    fn columns_are_found_in_any_order_and_case() {
        let columns = recognise("Volume,LOW,Adj Close,high,Close,Open,Datetime").unwrap();
        assert_eq!((columns.time, columns.open, columns.high, columns.low), (6, 5, 3, 1));
        assert_eq!((columns.close, columns.volume, columns.symbol), (4, Some(0), None));
    }

    #[test]
    fn an_unnamed_first_column_is_the_time() {
        assert_eq!(recognise(",Open,High,Low,Close").unwrap().time, 0);
    }

    #[test]
    fn a_time_beside_a_date_is_the_time_of_day() {
        let columns = recognise("Ticker,Date,Time,Open,High,Low,Close").unwrap();
        assert_eq!((columns.time, columns.time_of_day, columns.symbol), (1, Some(2), Some(0)));
        assert_eq!(recognise("time,open,high,low,close").unwrap().time_of_day, None);
    }

    #[test]
    fn a_missing_column_is_named_with_what_there_is() {
        let error = recognise("date,open,high,low,volume").unwrap_err();
        assert_eq!(
            error,
            "no close column among \"date,open,high,low,volume\" (a header row must name close: close, close \
             price, c, adj close; or say which it is with --columns close=HEADER)"
        );
        assert!(recognise("a,open,high,low,close").unwrap_err().starts_with("no time column"));
    }

    #[test]
    fn what_the_user_says_of_columns_holds() {
        let header = ["Date", "prev_close", "LTP", "open", "high", "low", "close", "Shares"];
        let said = |text: &str| {
            let names: ColumnNames = text.parse()?;
            Columns::recognise(header.into_iter(), &names)
        };
        let columns = said("close=ltp,volume=shares").unwrap();
        assert_eq!((columns.time, columns.close, columns.volume), (0, 2, Some(7)));
        let check = |text: &str, expected: &str| assert_eq!(said(text).unwrap_err(), expected);
        check(
            "close=Last",
            "no column \"Last\" among \"date,prev close,ltp,open,high,low,close,shares\" (mend --columns close=Last)",
        );
        check("close", "\"close\" does not read COLUMN=HEADER, such as close=LTP");
        check(
            "last=LTP",
            "\"last\" is no column that bars have (ts, time_of_day, open, high, low, close, volume, symbol)",
        );
        check("close=LTP,close=close", "says twice which column is close");
    }
}
