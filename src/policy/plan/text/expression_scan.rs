//! Many regular expressions in one pass: those that no literal of their own leads to.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::{
    Input, MatchKind, PatternSet,
    hybrid::dfa::{Cache, DFA, OverlappingState},
    nfa::thompson::{self, WhichCaptures},
    util::{pool::Pool, syntax},
};

/// The most memory that an automaton may take for each thread that uses it, unless it cannot work with so little.
const CACHE_BYTES: usize = 8 << 20;

/// Regular expressions in one automaton, whose states are made as texts need them.
#[derive(Debug)]
pub(super) struct ExpressionScan {
    automaton: DFA,
    count: usize,
    scratches: Pool<Scratch, MakeScratch>,
}

type MakeScratch = Box<dyn Fn() -> Scratch + Send + Sync + UnwindSafe + RefUnwindSafe>;

#[derive(Debug)]
struct Scratch {
    cache: Cache,
    matched: PatternSet,
}

/// The automaton gave up: the text would have made it build states without end. Each expression is to be asked itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GaveUp;

impl ExpressionScan {
    /// Compiles expressions, none of which asks for Unicode word boundaries. `None`: they cannot be compiled together.
    pub(super) fn new(patterns: &[String]) -> Option<Self> {
        Self::with_cache(patterns, CACHE_BYTES)
    }

    fn with_cache(patterns: &[String], bytes: usize) -> Option<Self> {
        let automaton = DFA::builder()
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(bytes)
                    .skip_cache_capacity_check(true)
                    // Whoever sends texts that fill the cache again and again does not slow down others for long.
                    .minimum_cache_clear_count(Some(3))
                    .minimum_bytes_per_state(Some(10)),
            )
            .syntax(syntax::Config::new().utf8(false))
            .thompson(thompson::Config::new().utf8(false).which_captures(WhichCaptures::None))
            .build_many(patterns)
            .ok()?;
        let made_for = automaton.clone();
        let make: MakeScratch = Box::new(move || Scratch {
            cache: made_for.create_cache(),
            matched: PatternSet::new(made_for.pattern_len()),
        });
        Some(Self {
            automaton,
            count: patterns.len(),
            scratches: Pool::new(make),
        })
    }

    /// Tells every expression that matches somewhere in the text.
    ///
    /// # Errors
    /// [`GaveUp`]; nothing was told.
    pub(super) fn find(&self, text: &[u8], mut found: impl FnMut(usize)) -> Result<(), GaveUp> {
        let mut scratch = self.scratches.get();
        let Scratch { cache, matched } = &mut *scratch;
        matched.clear();
        if self.search(cache, text, matched).is_err() {
            // How often it was emptied counts no longer.
            cache.reset(&self.automaton);
            return Err(GaveUp);
        }
        matched.iter().for_each(|pattern| found(pattern.as_usize()));
        Ok(())
    }

    /// Goes through the text once. Every match is reported at every place where it ends; a text on which most expressions
    /// match at most places would be reported a million times, and is given up.
    fn search(&self, cache: &mut Cache, text: &[u8], matched: &mut PatternSet) -> Result<(), GaveUp> {
        const REPORTS_PER_BYTE: usize = 4;
        let mut left = REPORTS_PER_BYTE * (text.len() + self.count);
        let (input, mut state) = (Input::new(text), OverlappingState::start());
        loop {
            self.automaton
                .try_search_overlapping_fwd(cache, &input, &mut state)
                .map_err(|_| GaveUp)?;
            let Some(found) = state.get_match() else { return Ok(()) };
            matched.insert(found.pattern());
            if matched.is_full() {
                return Ok(());
            }
            left = left.checked_sub(1).ok_or(GaveUp)?;
        }
    }

    /// How many expressions it looks for.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The bytes that it takes, the states of each thread aside.
    pub(super) fn memory(&self) -> usize {
        self.automaton.memory_usage() + self.automaton.get_nfa().memory_usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], text: &[u8]) -> Result<Vec<usize>, GaveUp> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let mut found = Vec::new();
        ExpressionScan::new(&patterns)
            .expect("it compiles")
            .find(text, |at| found.push(at))?;
        Ok(found)
    }

    #[test]
    fn all_that_match_are_told() {
        let patterns = ["^[0-9]+$", "[a-c]{2}", "(?-u)\\xff", ".", "^$", "(?i)É"];
        assert_eq!(found(&patterns, b"123"), Ok(vec![0, 3]));
        assert_eq!(found(&patterns, b"xab\xff"), Ok(vec![1, 2, 3]));
        assert_eq!(found(&patterns, b""), Ok(vec![4]));
        assert_eq!(found(&patterns, "é".as_bytes()), Ok(vec![3, 5]));
    }

    #[test]
    fn it_gives_up_on_texts_that_need_ever_new_states() {
        let scan = ExpressionScan::with_cache(&["a[ab]{14}c".to_owned()], 0).expect("it compiles");
        // The bits of ascending numbers: hardly two places with the same last fourteen letters.
        let letters = (0..2_000_u32).flat_map(|n| (0..11).map(move |bit| if n >> bit & 1 == 0 { b'a' } else { b'b' }));
        let text: Vec<u8> = letters.collect();
        assert_eq!(scan.find(&text, |_| ()), Err(GaveUp));
        assert_eq!(scan.find(b"abab", |_| ()), Ok(()));
    }

    #[test]
    fn it_gives_up_on_texts_that_match_everywhere() {
        let open_ended = (1..60).map(|n| format!("[0-9]{{{n},}}"));
        let patterns: Vec<String> = open_ended.chain(["x".to_owned()]).collect();
        let scan = ExpressionScan::new(&patterns).expect("it compiles");
        assert_eq!(scan.find(&[b'1'; 4096], |_| ()), Err(GaveUp));
        assert_eq!(scan.find(b"12", |_| ()), Ok(()));
    }
}
