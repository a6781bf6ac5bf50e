//! A request put to the plan: what the matchers tell of it, which rules that brings up, and whether they match.

use bumpalo::Bump;

use super::{
    Atom, Plan,
    atoms::{AtomId, Node},
    clues::{Confirm, about},
    guards::Settled,
    keys::KeyScratch,
    matchers::{MatcherId, Told},
    text::Find,
};
use crate::policy::{
    lang::{
        Truth, Unknown,
        ast::{Comparison, Elementwise, Predicate, Test},
        interpreter,
        request::Input,
        types::Datum,
    },
    phases::{Position, phase_index, reuse},
    rule::Phase,
};

/// What is known of the request under way. Reused from request to request, and from plan to plan: every note carries the
/// number of the walk that made it, so that nothing has to be wiped.
#[derive(Debug, Default)]
pub(in crate::policy) struct Answers {
    noted: Noted,
    scratch: KeyScratch,
    /// Where values live while one atom is asked: those of a thousand atoms do not pile up.
    values: Bump,
}

#[derive(Debug, Default)]
struct Noted {
    walk: u64,
    /// For each atom the last walk in which it was told or asked, and what came of it.
    atoms: Vec<Answer>,
    /// For each atom the last string that it was asked of.
    asked_of: Vec<u64>,
    /// For each matcher the last walk in which it was asked.
    matchers: Vec<u64>,
    /// For each rule the last walk in which its guard held.
    rules: Vec<u64>,
    /// The rules of each phase whose guards hold.
    candidates: [Vec<Position>; Phase::ALL.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    walk: u64,
    holds: bool,
}

impl Noted {
    /// Begins a walk. What was noted in earlier ones is out of date from now on.
    fn begin(&mut self, plan: &Plan) {
        self.walk += 1;
        grow(&mut self.atoms, plan.atoms.len());
        grow(&mut self.asked_of, plan.atoms.len());
        grow(&mut self.matchers, plan.matchers.len());
        grow(&mut self.rules, plan.rules.len());
        self.candidates.iter_mut().for_each(Vec::clear);
    }

    fn answer(&self, atom: AtomId) -> Option<bool> {
        let answer = self.atoms.get(atom.index())?;
        (answer.walk == self.walk).then_some(answer.holds)
    }

    fn note(&mut self, atom: AtomId, holds: bool) {
        if let Some(answer) = self.atoms.get_mut(atom.index()) {
            *answer = Answer { walk: self.walk, holds };
        }
    }

    /// Notes that an atom holds, and brings up the rules that it guards.
    fn holds(&mut self, plan: &Plan, atom: AtomId) {
        self.note(atom, true);
        for rule in plan.atoms.get(atom.index()).map_or(&[][..], |atom| &atom.guarded) {
            let Some(last) = self.rules.get_mut(*rule) else {
                continue;
            };
            let is_new = std::mem::replace(last, self.walk) != self.walk;
            if let (true, Some(Some(planned))) = (is_new, plan.rules.get(*rule)) {
                self.candidates[phase_index(planned.phase)].push(*rule);
            }
        }
    }

    /// Takes what a matcher tells, and asks what remains to be asked.
    fn told(&mut self, plan: &Plan, input: &Input<'_>, values: &mut Bump, told: Told<'_>) {
        let Find { lead, text, serial } = match told {
            Told::Holds(atom) => return self.holds(plan, atom),
            Told::Found(find) => find,
        };
        // Found before: nothing can change an atom that holds, nor one that was asked as a whole.
        if self.answer(lead.atom).is_some() {
            return;
        }
        let Some(atom) = plan.atoms.get(lead.atom.index()) else {
            return;
        };
        let holds = match lead.confirm {
            Confirm::Sure => true,
            Confirm::Test => {
                // A pattern found a hundred times in a string is asked of it once.
                let last = self.asked_of.get_mut(lead.atom.index());
                if last.is_none_or(|last| std::mem::replace(last, serial) == serial) {
                    return;
                }
                test_of(&atom.predicate).is_some_and(|test| interpreter::test(test, &Datum::Text(text)))
            }
            Confirm::Atom => {
                let holds = ask(&atom.predicate, input, values);
                self.note(lead.atom, holds);
                holds
            }
        };
        if holds {
            self.holds(plan, lead.atom);
        }
    }
}

/// What of a plan cannot be seen where some facts are not known: made once for all requests of which the same is unknown.
#[derive(Debug)]
pub(in crate::policy) struct Sight {
    /// By atom, whether it is about something unknown.
    hidden: Box<[bool]>,
    /// The rules of each phase that such an atom would bring up, in order.
    unseen: [Box<[Position]>; Phase::ALL.len()],
}

impl Sight {
    pub(in crate::policy) fn new(plan: &Plan, unknown: &Unknown<'_>) -> Self {
        let hidden: Box<[bool]> = plan.atoms.iter().map(|atom| is_about_unknown(atom, unknown)).collect();
        let mut unseen: [Vec<Position>; Phase::ALL.len()] = Default::default();
        let atoms = plan.atoms.iter().zip(&hidden).filter(|(_, hidden)| **hidden);
        for rule in atoms.flat_map(|(atom, _)| &atom.guarded) {
            if let Some(Some(planned)) = plan.rules.get(*rule) {
                unseen[phase_index(planned.phase)].push(*rule);
            }
        }
        let unseen = unseen.map(|mut rules| {
            rules.sort_unstable();
            rules.dedup();
            rules.into_boxed_slice()
        });
        Self { hidden, unseen }
    }
}

fn is_about_unknown(atom: &Atom, unknown: &Unknown<'_>) -> bool {
    about(&atom.predicate).is_some_and(|value| unknown.touches(value))
}

/// What the interpreter says of an atom.
fn ask(predicate: &Predicate, input: &Input<'_>, values: &mut Bump) -> bool {
    reuse(values);
    interpreter::holds(
        predicate,
        &Input {
            arena: values,
            ..*input
        },
    )
}

fn grow<T: Clone + Default>(notes: &mut Vec<T>, len: usize) {
    if notes.len() < len {
        notes.resize(len, T::default());
    }
}

/// The test that an atom puts its value, or each of its elements, to.
fn test_of(predicate: &Predicate) -> Option<&Test> {
    match predicate {
        Predicate::Compare(Comparison { test, .. })
        | Predicate::Quantified(_, Elementwise::Compare(Comparison { test, .. })) => Some(test),
        Predicate::Quantified(_, Elementwise::Not(_) | Elementwise::Holds(_))
        | Predicate::Holds(_)
        | Predicate::Constant(_)
        | Predicate::Not(_)
        | Predicate::Group(..) => None,
    }
}

/// One reading of one request, put to a plan.
pub(in crate::policy) struct Asking<'r> {
    plan: &'r Plan,
    input: Input<'r>,
    answers: &'r mut Answers,
    /// What of the plan cannot be seen; `None`: it is found out for each atom from what the input says is unknown.
    sight: Option<&'r Sight>,
}

impl<'r> Asking<'r> {
    pub(in crate::policy) fn new(plan: &'r Plan, input: Input<'r>, answers: &'r mut Answers) -> Self {
        answers.noted.begin(plan);
        Self {
            plan,
            input,
            answers,
            sight: None,
        }
    }

    /// The same where some of the request's facts are not known: `sight` was made of the same plan.
    pub(in crate::policy) fn in_sight(self, sight: &'r Sight) -> Self {
        let sight = Some(sight);
        Self { sight, ..self }
    }

    /// Adds the rules of a phase that may match, in order: those whose guards hold, and those that have none.
    pub(in crate::policy) fn candidates<T: Truth>(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        let planned = self.plan.phase(phase);
        if T::MAY_BE_UNKNOWN && self.sight.is_none() {
            // A guard may be unknown.
            rules.extend(&planned.all);
            return;
        }
        for matcher in &planned.matchers {
            self.ask_matcher(*matcher);
        }
        let found = &self.answers.noted.candidates[phase_index(phase)];
        rules.extend(found);
        rules.extend(&planned.always);
        if let Some(sight) = self.sight {
            rules.extend(&sight.unseen[phase_index(phase)]);
        }
        rules.sort_unstable();
        if self.sight.is_some() {
            rules.dedup();
        }
    }

    /// Whether a candidate matches.
    pub(in crate::policy) fn matches<T: Truth>(&mut self, rule: Position) -> T {
        let plan = self.plan;
        let Some(Some(planned)) = plan.rules.get(rule) else {
            return T::known(false);
        };
        match (planned.guard, &planned.node) {
            (Some(Settled::All), _) if !T::MAY_BE_UNKNOWN => T::known(true),
            (Some(Settled::Part(settled)), Node::All(parts)) if !T::MAY_BE_UNKNOWN => {
                let rest = parts.iter().enumerate().filter(|(at, _)| *at != settled);
                T::all(rest.map(|(_, part)| self.evaluate(part)))
            }
            (_, node) => self.evaluate(node),
        }
    }

    fn evaluate<T: Truth>(&mut self, node: &Node) -> T {
        match node {
            Node::Constant(value) => T::known(*value),
            Node::Atom(atom) => self.atom(*atom),
            Node::Not(inner) => self.evaluate::<T>(inner).negated(),
            Node::All(parts) => T::all(parts.iter().map(|part| self.evaluate(part))),
            Node::Any(parts) => T::any(parts.iter().map(|part| self.evaluate(part))),
            Node::Odd(parts) => {
                let parts = parts.iter().map(|part| self.evaluate::<T>(part));
                parts.fold(T::known(false), T::xor)
            }
        }
    }

    fn atom<T: Truth>(&mut self, id: AtomId) -> T {
        let plan = self.plan;
        let Some(atom) = plan.atoms.get(id.index()) else {
            return T::known(false);
        };
        if T::MAY_BE_UNKNOWN && self.is_hidden(id, atom) {
            return T::unknown();
        }
        if let Some(matcher) = atom.told_by {
            self.ask_matcher(matcher);
            return T::known(self.answers.noted.answer(id).unwrap_or(false));
        }
        let known = self.answers.noted.answer(id).unwrap_or_else(|| {
            let holds = ask(&atom.predicate, &self.input, &mut self.answers.values);
            self.answers.noted.note(id, holds);
            holds
        });
        T::known(known)
    }

    fn is_hidden(&self, id: AtomId, atom: &Atom) -> bool {
        match self.sight {
            Some(sight) => sight.hidden.get(id.index()).copied().unwrap_or(true),
            None => is_about_unknown(atom, self.input.unknown),
        }
    }

    /// Asks a matcher, unless it was asked before.
    fn ask_matcher(&mut self, id: MatcherId) {
        let Answers { noted, scratch, values } = &mut *self.answers;
        let plan = self.plan;
        let (Some(last), Some(matcher)) = (noted.matchers.get_mut(id), plan.matchers.get(id)) else {
            return;
        };
        if std::mem::replace(last, noted.walk) == noted.walk {
            return;
        }
        matcher.find(&self.input, scratch, |told| noted.told(plan, &self.input, values, told));
    }
}
