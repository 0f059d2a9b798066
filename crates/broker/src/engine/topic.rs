//! Topic patterns: a trie over the words of binding keys (section 3.1.3.3).
//!
//! Matching walks the routing key once with the set of nodes reached so far, as a state machine does. It neither
//! recurses nor backtracks, so a pattern such as `#.a.#.a.#.a` costs no more than the nodes it has. Does not know what
//! a target is beyond that it can be counted.

use std::collections::BTreeMap;

use super::targets::Targets;
use super::topology::Destination;

/// The root's place in `nodes`.
const ROOT: usize = 0;

#[derive(Debug, Default)]
struct Node {
    /// By word; `*` and `#` have places of their own.
    words: BTreeMap<Box<str>, usize>,
    any_word: Option<usize>,
    any_words: Option<usize>,
    /// Whether this node stands for `#`, and so stays reached whatever word comes.
    repeats: bool,
    targets: Targets,
}

/// A set of topic patterns with targets.
#[derive(Debug)]
pub(super) struct TopicTrie {
    nodes: Vec<Node>,
    /// Places in `nodes` that are no longer used.
    free: Vec<usize>,
}

impl Default for TopicTrie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl TopicTrie {
    pub(super) fn insert(&mut self, pattern: &str, target: &Destination) {
        let mut at = ROOT;
        for word in words(pattern) {
            at = match self.child(at, word) {
                Some(child) => child,
                None => self.add_child(at, word),
            };
        }
        self.nodes[at].targets.insert(target);
    }

    pub(super) fn remove(&mut self, pattern: &str, target: &Destination) {
        let mut path = vec![(ROOT, "")];
        for word in words(pattern) {
            let Some(child) = path.last().and_then(|&(at, _)| self.child(at, word)) else { return };
            path.push((child, word));
        }
        if let Some(&(last, _)) = path.last() {
            self.nodes[last].targets.remove(target);
        }
        // Nodes that lead nowhere any more are given back, from the leaf up.
        while let Some((at, word)) = path.pop() {
            let Some(&(parent, _)) = path.last() else { return };
            let node = &self.nodes[at];
            if !node.targets.is_empty() || !node.words.is_empty() || node.any_word.or(node.any_words).is_some() {
                return;
            }
            match word {
                "*" => self.nodes[parent].any_word = None,
                "#" => self.nodes[parent].any_words = None,
                word => drop(self.nodes[parent].words.remove(word)),
            }
            self.nodes[at] = Node::default();
            self.free.push(at);
        }
    }

    /// Calls `found` for the targets of every pattern that matches.
    pub(super) fn matches<'a>(&'a self, routing_key: &str, mut found: impl FnMut(&'a Targets)) {
        let (mut reached, mut next) = (Vec::new(), Vec::new());
        self.reach(ROOT, &mut reached);
        for word in words(routing_key) {
            for &at in &reached {
                let node = &self.nodes[at];
                if node.repeats {
                    next.push(at);
                }
                for child in [node.words.get(word).copied(), node.any_word].into_iter().flatten() {
                    self.reach(child, &mut next);
                }
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            if reached.is_empty() {
                return;
            }
        }
        for at in reached {
            found(&self.nodes[at].targets);
        }
    }

    /// Adds a node, and what `#` reaches from it without any word.
    fn reach(&self, at: usize, reached: &mut Vec<usize>) {
        let mut next = Some(at);
        while let Some(at) = next {
            reached.push(at);
            next = self.nodes[at].any_words;
        }
    }

    fn child(&self, at: usize, word: &str) -> Option<usize> {
        let node = &self.nodes[at];
        match word {
            "*" => node.any_word,
            "#" => node.any_words,
            word => node.words.get(word).copied(),
        }
    }

    fn add_child(&mut self, at: usize, word: &str) -> usize {
        let child = self.free.pop().unwrap_or(self.nodes.len());
        if child == self.nodes.len() {
            self.nodes.push(Node::default());
        }
        self.nodes[child].repeats = word == "#";
        let parent = &mut self.nodes[at];
        match word {
            "*" => parent.any_word = Some(child),
            "#" => parent.any_words = Some(child),
            word => drop(parent.words.insert(word.into(), child)),
        }
        child
    }
}

/// The words of a key. The empty key has none: RabbitMQ matches it with `#` but not with `*`.
fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split('.').take(if key.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::super::QueueId;
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn reference(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), None) => reference(rest, key),
            (Some((&"#", rest)), Some((_, key_rest))) => reference(rest, key) || reference(pattern, key_rest),
            (Some((&word, rest)), Some((&key_word, key_rest))) if word == "*" || word == key_word => {
                reference(rest, key_rest)
            }
            _ => false,
        }
    }

    fn matching(trie: &TopicTrie, key: &str) -> Vec<Destination> {
        let mut found = Vec::new();
        trie.matches(key, |targets| found.extend(targets.iter().cloned()));
        found.sort();
        found.dedup();
        found
    }

    fn queue(id: usize) -> Destination {
        Destination::Queue(QueueId(id as u64))
    }

    #[test]
    fn star_is_one_word_and_hash_any_number() {
        let mut trie = TopicTrie::default();
        for (id, pattern) in ["a.*.c", "a.#", "#", "*", "a.b.c", "#.c"].iter().enumerate() {
            trie.insert(pattern, &queue(id));
        }
        assert_eq!(matching(&trie, "a.b.c"), [0, 1, 2, 4, 5].map(queue));
        assert_eq!(matching(&trie, "a"), [1, 2, 3].map(queue));
        assert_eq!(matching(&trie, ""), [queue(2)]);
        assert_eq!(matching(&trie, "a..c"), [0, 1, 2, 5].map(queue));
    }

    #[test]
    fn a_pattern_made_for_backtracking_is_cheap() {
        let mut trie = TopicTrie::default();
        trie.insert(&"#.a.".repeat(60), &queue(0));
        assert!(matching(&trie, &"a.".repeat(127)).len() <= 1);
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition_and_forgets_what_is_removed(
            patterns in proptest::collection::vec("([ab*#]?(\\.[ab*#]){0,4})?", 1..12),
            keys in proptest::collection::vec("([ab]?(\\.[ab]?){0,5})?", 1..12),
        ) {
            let mut trie = TopicTrie::default();
            for (id, pattern) in patterns.iter().enumerate() {
                trie.insert(pattern, &queue(id));
            }
            for removed in 0..=patterns.len() {
                for key in &keys {
                    let expected: Vec<_> = patterns.iter().enumerate().skip(removed)
                        .filter(|(_, p)| reference(&words(p).collect::<Vec<_>>(), &words(key).collect::<Vec<_>>()))
                        .map(|(id, _)| queue(id)).collect();
                    prop_assert_eq!(matching(&trie, key), expected);
                }
                if let Some(pattern) = patterns.get(removed) {
                    trie.remove(pattern, &queue(removed));
                }
            }
            prop_assert_eq!(trie.free.len() + 1, trie.nodes.len());
        }
    }
}
