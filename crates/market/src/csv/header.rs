//! Which column is which, recognised by name in any order and case.

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
    pub fn recognise<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let names: Vec<String> = names.map(normalise).collect();
        // Where several aliases stand in one file the order of the aliases decides, not of the columns: so
        // `close` wins over `adj close`.
        let find = |aliases: &[&str]| aliases.iter().find_map(|alias| names.iter().position(|n| n == alias));
        let need = |what: &str, aliases: &[&str]| {
            find(aliases).ok_or_else(|| {
                format!(
                    "no {what} column among \"{}\" (a header row must name {what}: {})",
                    names.join(","),
                    aliases.join(", ")
                )
            })
        };
        // A table written with its index has no name above it (pandas).
        let unnamed = names.first().filter(|name| name.is_empty()).map(|_| 0);
        let time = find(DATE).or(unnamed);
        let close = need("close", CLOSE)?;
        let time = time.map_or_else(|| need("time", DATE), Ok)?;
        let time_of_day = find(TIME_OF_DAY).filter(|&column| column != time && names[time] != "time");
        Ok(Self {
            time,
            time_of_day,
            open: need("open", OPEN)?,
            high: need("high", HIGH)?,
            low: need("low", LOW)?,
            close,
            volume: find(VOLUME),
            symbol: find(SYMBOL).filter(|&column| column != time),
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
        Columns::recognise(header.split(','))
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
             price, c, adj close)"
        );
        assert!(recognise("a,open,high,low,close").unwrap_err().starts_with("no time column"));
    }
}
