//! Two verdicts on one request, and what it means that they differ.

use std::borrow::Cow;

use crate::{
    gateway::head::HeadError,
    policy::{
        decision::Reason,
        rule::Rule,
        view::{Change, Foreseen},
    },
    replay::record::Then,
};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Judged<'s> {
    /// Both verdicts are the same.
    Unchanged(Unchanged),
    /// Something changes, or nobody can tell.
    Noted(Kind, By<'s>),
    /// There is nothing to compare.
    NotCompared(NotCompared),
}

/// How nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchanged {
    /// It is allowed.
    Allowed,
    /// It is blocked.
    Blocked,
    /// It depends on what the log does not say, in the same way before and after.
    Depends,
}

/// What is noted of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It was allowed and would be blocked.
    NewlyBlocked,
    /// It was blocked and would be allowed.
    NewlyAllowed,
    /// The same verdict, by another rule.
    OtherRule,
    /// It depends on what the log does not say.
    Undecided,
}

/// Because of what.
#[derive(Debug, Clone)]
pub struct By<'s> {
    /// What decided then.
    pub then: Cow<'s, str>,
    /// What would decide.
    pub now: Cow<'s, str>,
    /// The rule that is meant, if one is: of what is newly allowed the one that blocked it.
    pub rule: Option<&'s Rule>,
    /// Whether the request passed then, if that is known.
    pub passed: Option<bool>,
}

/// Why a request is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCompared {
    /// It was refused before any rule was asked, for this reason.
    RefusedThen(String),
    /// The gateway answered it by itself.
    Answered,
    /// It is no request, or one that is refused before any rule is asked, whatever the rules are.
    Refused(Reason, &'static str),
}

/// What a request came to before it was compared.
pub(super) enum Verdict<'s> {
    Foreseen(Foreseen<'s>),
    Refused(HeadError),
}

/// What decided, or will.
pub(super) struct Decided<'s> {
    /// `None`: nobody can tell.
    allows: Option<bool>,
    by: Cow<'s, str>,
    rule: Option<&'s Rule>,
    /// Whether another rule may have come first.
    is_sure: bool,
    /// What refused it before any rule was asked.
    refused: Option<HeadError>,
    /// Whether any policy was asked.
    was_judged: bool,
}

impl<'s> Decided<'s> {
    pub(super) fn of(verdict: Verdict<'s>) -> Self {
        let (allows, by, rule, is_sure) = match verdict {
            Verdict::Refused(error) => {
                return Self {
                    allows: Some(false),
                    by: Cow::Owned(format!("({})", error.reason.as_str())),
                    rule: None,
                    is_sure: true,
                    refused: Some(error),
                    was_judged: true,
                };
            }
            Verdict::Foreseen(Foreseen::Allow { rule, is_sure }) => (Some(true), name(rule, NO_RULE), rule, is_sure),
            Verdict::Foreseen(Foreseen::Block { rule, is_sure, .. }) => {
                (Some(false), name(rule, DEFAULT), rule, is_sure)
            }
            Verdict::Foreseen(Foreseen::Undecided(rule)) => (None, name(Some(rule), NO_RULE), Some(rule), false),
        };
        Self {
            allows,
            by,
            rule,
            is_sure,
            refused: None,
            was_judged: true,
        }
    }

    pub(super) fn then(then: &Then<'_>) -> Self {
        let said = |rule: &Option<Cow<'_, str>>, without: &'static str| match rule {
            Some(rule) => Cow::Owned(rule.to_string()),
            None => Cow::Borrowed(without),
        };
        let (allows, by, was_judged) = match then {
            Then::Allowed { rule } => (true, said(rule, NO_RULE), true),
            Then::Blocked { rule } => (false, said(rule, DEFAULT), true),
            Then::NotJudged | Then::Rejected { .. } | Then::Answered => (true, Cow::Borrowed(PASSED), false),
        };
        Self {
            allows: Some(allows),
            by,
            rule: None,
            is_sure: was_judged,
            refused: None,
            was_judged,
        }
    }
}

/// Nothing decided: it passes.
const NO_RULE: &str = "(no rule)";
/// No rule decided, and the site's default is to block.
const DEFAULT: &str = "(site default)";
/// It passed a server that is none of ours.
const PASSED: &str = "(passed)";

fn name<'s>(rule: Option<&'s Rule>, without: &'static str) -> Cow<'s, str> {
    Cow::Borrowed(rule.map_or(without, |rule| rule.id.as_str()))
}

impl<'s> Judged<'s> {
    pub(super) fn between(was: Decided<'s>, is: Decided<'s>) -> Self {
        match (&was.refused, &is.refused) {
            (Some(error), Some(_)) => return Self::NotCompared(NotCompared::Refused(error.reason, error.detail)),
            // No gateway of ours stood there: it refuses such requests whatever the rules are.
            (None, Some(error)) if !was.was_judged => {
                return Self::NotCompared(NotCompared::Refused(error.reason, error.detail));
            }
            (None | Some(_), None) | (None, Some(_)) => {}
        }
        let (kind, rule) = match (was.allows, is.allows) {
            (Some(true), Some(false)) => (Kind::NewlyBlocked, is.rule),
            (Some(false), Some(true)) => (Kind::NewlyAllowed, was.rule),
            (None, _) => (Kind::Undecided, was.rule),
            (_, None) => (Kind::Undecided, is.rule),
            (Some(_), Some(allows)) if was.by == is.by || !was.is_sure || !is.is_sure => {
                return Self::Unchanged(if allows { Unchanged::Allowed } else { Unchanged::Blocked });
            }
            (Some(_), Some(_)) => (Kind::OtherRule, is.rule),
        };
        let by = By {
            then: was.by,
            now: is.by,
            rule,
            passed: was.allows,
        };
        Self::Noted(kind, by)
    }

    pub(super) fn of_change(change: Change<'s>) -> Self {
        let between = |was, is| Self::between(Decided::of(Verdict::Foreseen(was)), Decided::of(Verdict::Foreseen(is)));
        match change {
            Change::None { is_decided: false, .. } => Self::Unchanged(Unchanged::Depends),
            Change::None { blocks: true, .. } => Self::Unchanged(Unchanged::Blocked),
            Change::None { blocks: false, .. } => Self::Unchanged(Unchanged::Allowed),
            Change::Blocks(was, is) | Change::Allows(was, is) | Change::OtherRule(was, is) => between(was, is),
            Change::Undecided(rule) => Self::Noted(
                Kind::Undecided,
                By {
                    then: Cow::Borrowed(rule.id.as_str()),
                    now: Cow::Borrowed(rule.id.as_str()),
                    rule: Some(rule),
                    passed: None,
                },
            ),
        }
    }

    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unchanged(one), Self::Unchanged(other)) => one == other,
            (Self::Noted(one, _), Self::Noted(other, _)) => one == other,
            (Self::NotCompared(one), Self::NotCompared(other)) => one == other,
            (Self::Unchanged(_) | Self::Noted(..) | Self::NotCompared(_), _) => false,
        }
    }
}

impl By<'_> {
    /// It depends on the site that the host leads to, which the log does not say.
    pub(super) fn host() -> Self {
        Self {
            then: Cow::Borrowed(WHICH_SITE),
            now: Cow::Borrowed(WHICH_SITE),
            rule: None,
            passed: None,
        }
    }
}

/// Stands in the place of a rule for what depends on the host alone.
pub const WHICH_SITE: &str = "(which site)";
