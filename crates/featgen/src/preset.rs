//! Specifications with a name.

/// A specification with a name, which may stand in a list like a feature.
#[derive(Debug)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// One line that says what it is for.
    pub summary: &'static str,
    /// The specification.
    pub specification: &'static str,
}

/// All presets.
pub const PRESETS: &[Preset] = &[Preset {
    name: "core",
    summary: "Scale-free features for learning: returns, momentum, trend, reversion, volatility, candle, volume, session",
    specification: CORE,
}];

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
