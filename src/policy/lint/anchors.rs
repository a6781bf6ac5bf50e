//! Anchors of regular expressions.

use regex_syntax::{ParserBuilder, hir::Look};

use crate::policy::lang::literals::is_unicode;

/// Where a regular expression has anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchored {
    /// At its beginning and at its end, in some alternative.
    BothEnds,
    /// Somewhere in it.
    Anywhere,
    /// At its end, whatever matches.
    AtEnd,
}

/// Whether a regular expression has anchors there.
pub(super) fn is_anchored(regex: &str, how: Anchored) -> bool {
    let mut builder = ParserBuilder::new();
    builder.unicode(is_unicode(regex)).utf8(false);
    let Ok(hir) = builder.build().parse(regex) else {
        return true;
    };
    let properties = hir.properties();
    match how {
        Anchored::BothEnds => {
            properties.look_set_prefix_any().contains(Look::Start)
                && properties.look_set_suffix_any().contains(Look::End)
        }
        Anchored::Anywhere => properties.look_set().contains_anchor(),
        Anchored::AtEnd => properties.look_set_suffix().contains(Look::End),
    }
}
