//! Hive's layout: a folder `symbol=BPCL` for each symbol, named in the path alone. Whatever would be misread in a
//! path stands there as its code after a percent sign, as Hive writes it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What Hive escapes in the name of a folder, beside control characters.
const ESCAPED: &[u8] = b"\"#%'*/:=?\\{[]^";

/// The name of the folder that holds a symbol's files.
pub fn folder_of(symbol: &str) -> String {
    let mut name = String::from("symbol=");
    for character in symbol.chars() {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii_control() || ESCAPED.contains(&byte) => {
                name.extend(["%", &format!("{byte:02X}")]);
            }
            _ => name.push(character),
        }
    }
    name
}

/// The symbol whose folder holds the file `path`, where its folder is one of a symbol.
pub fn symbol_of(path: &Path) -> Option<String> {
    symbol_of_folder(path.parent()?.file_name()?.to_str()?)
}

/// The symbol that the name of a folder says.
pub fn symbol_of_folder(name: &str) -> Option<String> {
    let encoded = name.strip_prefix("symbol=")?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok().filter(|symbol| !symbol.is_empty())
}

/// The parts of a partition, a symbol each, in ascending order of the symbols; files of one symbol in ascending
/// order of their names. A folder without any is an empty list.
pub fn parts(folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut parts = Vec::new();
    for entry in entries(folder)? {
        let symbol = entry.file_name().and_then(|name| name.to_str()).and_then(symbol_of_folder);
        let Some(symbol) = symbol.filter(|_| entry.is_dir()) else { continue };
        let mut files = entries(&entry)?;
        files.retain(|file| is_part(file));
        files.sort();
        if !files.is_empty() {
            parts.push((symbol, files));
        }
    }
    parts.sort();
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let message = format!("holds {} in two folders (remove one of them)", pair[0].0);
        return Err(Error::content(folder, message));
    }
    Ok(parts)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder, error);
    std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}

/// Hidden files are those that are being written.
fn is_part(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && path.extension().is_some_and(|ending| ending == "parquet") && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_escaped_as_hive_escapes_them_and_read_back() {
        let check = |symbol: &str, folder: &str| {
            assert_eq!(folder_of(symbol), folder);
            assert_eq!(symbol_of_folder(folder).as_deref(), Some(symbol));
        };
        check("BPCL", "symbol=BPCL");
        check("M&M", "symbol=M&M");
        check("L&T FH", "symbol=L&T FH");
        check("USD/INR=X", "symbol=USD%2FINR%3DX");
        check("100%", "symbol=100%25");
        check("..", "symbol=..");
        check("a\nb", "symbol=a%0Ab");
        check("%41", "symbol=%2541");
        check("टाटा", "symbol=टाटा");
    }

    #[test]
    fn what_others_escape_more_is_read_as_well() {
        assert_eq!(symbol_of_folder("symbol=M%26M").as_deref(), Some("M&M"));
        assert_eq!(symbol_of_folder("symbol=100%").as_deref(), Some("100%"));
        assert_eq!(symbol_of_folder("symbol=%4").as_deref(), Some("%4"));
        assert_eq!(symbol_of_folder("symbol="), None);
        assert_eq!(symbol_of_folder("sector=oil"), None);
        assert_eq!(symbol_of(Path::new("t/symbol=A/part-0.parquet")).as_deref(), Some("A"));
    }
}
