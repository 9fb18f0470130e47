//! Specifications with a name.

use crate::catalogue::{self, Origin};
use crate::own::alpha158;

/// A specification with a name, which may stand in a list like a feature.
#[derive(Debug)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// One line that says what it is for.
    pub summary: &'static str,
    list: fn() -> String,
}

impl Preset {
    /// The specification, as a list.
    pub fn specification(&self) -> String {
        (self.list)()
    }
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "core",
        summary: "Scale-free features for learning: returns, momentum, trend, reversion, volatility, candle, volume, session",
        list: || CORE.to_owned(),
    },
    Preset {
        name: "intraday",
        summary: "Returns, VWAP, bands, averages and oscillators as traders chart them, each also as its quintile",
        list: || {
            let binned: Vec<String> =
                INTRADAY.split(',').map(|entry| format!("{entry}@quantile:5:100")).collect();
            format!("{INTRADAY},{}", binned.join(","))
        },
    },
    Preset {
        name: "finrl",
        summary: "FinRL's indicators, in prices; its turbulence index over the one symbol's returns",
        list: || FINRL.to_owned(),
    },
    Preset {
        name: "alpha158",
        summary: "Qlib's Alpha158, over whole windows; the typical price stands for a bar's average price",
        list: alpha158_list,
    },
    Preset {
        name: "talib",
        summary: "Every function of TA-Lib at its defaults",
        list: || {
            let all = catalogue::all().iter().filter(|entry| matches!(entry.origin, Origin::TaLib(_)));
            all.map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(",")
        },
    },
];

fn alpha158_list() -> String {
    const CANDLE: &str =
        "kmid,klen,kmid2,kup,kup2,klow,klow2,ksft,ksft2,qlib_open,qlib_high,qlib_low,qlib_vwap";
    let mut entries: Vec<String> = CANDLE.split(',').map(str::to_owned).collect();
    for name in alpha158::names() {
        entries.extend(alpha158::WINDOWS.iter().map(|bars| format!("{name}:{bars}")));
    }
    entries.join(",")
}

/// What charts on bars within sessions show, in prices; "scaled by volume" is times the volume over its average.
const INTRADAY: &str = "\
log_return:1,log_return:2,log_return:3,log_return:5,log_return:7,log_return:13,log_return:17,log_return:19,log_return:23,\
session_vwap,session_vwap@diff:1,session_vwap_distance,volume_body:20,volume_range:20,\
macd:12:26:9,bbands:20:2:2:0,bbw:20:2:2:0,bollinger_position:20:2,rsi:14,stoch:14:3:0:3:0,atr:14,willr:14,\
sma:5,sma:10,sma:20,sma:50,sma:5@from_close,sma:10@from_close,sma:20@from_close,sma:50@from_close,\
volume_ratio:20,mom:10,roc:10,realised_volatility:20";

/// `FinRL` takes these from stockstats: Bollinger's bands over 20 bars, MACD 12 26, turbulence over a year.
const FINRL: &str = "\
macd.macd:12:26:9,bbands.upper_band:20:2:2:0,bbands.lower_band:20:2:2:0,rsi:30,cci:30,dx:30,sma:30,sma:60,\
turbulence:252";

/// Every feature is free of the price's scale and of the time at which the file starts, is finite after its
/// lookback on flat prices and without volume, and knows nothing of later bars. Time to the close is left
/// out: it is the time since the open, read backwards.
const CORE: &str = "\
log_return:1,log_return:2,log_return:3,log_return:6,log_return:12,log_return:24,\
rsi:6,rsi:14,stochf.fastk:14,stoch.slowd:14:3:0:3:0,cci:20,mfi:14,aroonosc:25,bop,\
macd:12:26:9@per_close,macd.hist:12:26:9@per_close,linearreg_slope:14@per_close,trix:9,\
adx:14,plus_di:14,minus_di:14,efficiency_ratio:10,\
sma:5@from_close,sma:10@from_close,sma:20@from_close,ema:50@from_close,bollinger_position:20:2,\
natr:14,realised_volatility:12,realised_volatility:36,parkinson_volatility:12,\
kmid,klen,kup,klow,ksft,\
volume_ratio:20,\
overnight_gap,session_return,session_vwap_distance,opening_range:30,\
minutes_since_open";

/// The preset of that name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
