//! One line of `/proc/PID/stat`.

/// The fields that are used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    pub state: char,
    pub parent: u32,
    /// User and system time of the process, and of the children that it waited for, in ticks.
    pub ticks: u64,
    /// The part of it that children used.
    pub children_ticks: u64,
    pub threads: u32,
    /// In ticks since boot.
    pub started: u64,
    pub resident_pages: u64,
}

/// Reads one line of `/proc/PID/stat`. The name stands in parentheses and may itself hold some.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut words = [""; 22];
    for (place, word) in words.iter_mut().zip(after.split_ascii_whitespace()) {
        *place = word;
    }
    let number = |position: usize| words.get(position)?.parse::<u64>().ok();
    let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Stat {
        name,
        state: words[0].chars().next()?,
        parent: number(1)? as u32,
        ticks,
        children_ticks: number(13)? + number(14)?,
        threads: number(17)? as u32,
        started: number(19)?,
        resident_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 5 0 9999 1000 77 184467 1";
        let stat = parse_stat(text).unwrap();
        let expected = Stat {
            name: "a) b (c".into(),
            state: 'S',
            parent: 7,
            ticks: 124,
            children_ticks: 4,
            threads: 5,
            started: 9999,
            resident_pages: 77,
        };
        assert_eq!(stat, expected);
        assert_eq!(parse_stat("42 (short) S 7"), None);
    }
}
