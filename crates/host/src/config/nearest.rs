//! Which known name somebody meant. It compares texts and knows nothing about what they name.

use super::text::cut;

/// The candidate with the fewest edits from `name`.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = cut(name);
    candidates.min_by_key(|candidate| distance(&name, candidate))
}

/// The nearest candidate if it is near enough to have been meant, otherwise all of them.
pub(super) fn hint(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates.iter().copied()) {
        Some(near) if distance(&cut(name), near) <= near.len() / 3 + 1 => format!("did you mean {near}?"),
        _ => format!("expected one of {}", candidates.join(", ")),
    }
}

/// Levenshtein's distance, row by row. Both texts are short: a known name, and one that was cut.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("queue", "queue"), 0);
    }

    #[test]
    fn a_far_name_gets_the_whole_list() {
        assert_eq!(hint("prefech", &["name", "prefetch"]), "did you mean prefetch?");
        assert_eq!(hint("colour", &["name", "prefetch"]), "expected one of name, prefetch");
    }
}
