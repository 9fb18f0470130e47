//! Hyper-parameters are declared once, on top of their algorithm's file: from one list come the struct, its
//! defaults, its part of `config.toml`, its flags and their help.

/// Declares a configuration and its flags. Each line is a documented field with its default; the first
/// sentence of the documentation is the flag's help.
///
/// ```text
/// hyper_parameters! {
///     /// What it is for.
///     pub struct PpoConfig, PpoFlags {
///         /// γ: what a reward one step later is worth.
///         gamma: f64 = 0.99,
///     }
/// }
/// ```
macro_rules! hyper_parameters {
    (
        $(#[doc = $about:literal])+
        pub struct $config:ident, $flags:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($name: $default.into(),)+ }
            }
        }

        #[doc = concat!("Flags that change a [`", stringify!($config), "`].")]
        #[derive(Debug, Clone, Default, PartialEq, clap::Args)]
        pub struct $flags {
            $(
                #[arg(
                    long,
                    value_name = "X",
                    allow_negative_numbers = true,
                    help_heading = "Hyper-parameters",
                    help = $crate::algorithms::hyper::help(&[$($doc),+], &$config::default().$name)
                )]
                $name: Option<$type>,
            )+
        }

        impl $flags {
            /// The names of the values that were given.
            pub fn given(&self) -> std::collections::BTreeSet<String> {
                let names = [$((stringify!($name), self.$name.is_some())),+];
                names.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()).collect()
            }

            /// These without the values called `names`.
            #[must_use]
            pub fn without(mut self, names: &std::collections::BTreeSet<String>) -> Self {
                $(if names.contains(stringify!($name)) {
                    self.$name = None;
                })+
                self
            }

            /// Puts the values of the flags that were given in place of those in `config`.
            pub fn lay_over(&self, config: &mut $config) {
                $(if let Some(value) = &self.$name {
                    config.$name = value.clone();
                })+
            }
        }
    };
}
pub(crate) use hyper_parameters;

/// A flag's help: what is documented, and the default.
pub fn help(lines: &[&str], default: &dyn std::fmt::Display) -> String {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    format!("{} [default: {default}]", text.trim_end_matches('.'))
}
