//! A site's answers, compiled once per load: its pages, its documents and what it pretends not to have.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    template::{Format, Template},
    values::Values,
};
use crate::{
    config::settings::{DEFAULT_REFUSAL, Disclose, NotFound, Site},
    policy::{
        fault::{Fault, Source},
        rule::RefusalStatus,
    },
};

/// The shipped page, which is also the example to start one's own from.
pub const SHIPPED_PAGE: &str = include_str!("../../../pages/403.html");

/// How one site refuses.
#[derive(Debug)]
pub struct SiteAnswers {
    /// The operator's page, with whatever it loads.
    page: Option<Template>,
    /// Ours: served with a policy that forbids everything but its own style. Also for what the operator's fails on.
    shipped_page: Template,
    document: Option<Template>,
    pub(super) not_found: NotFound,
    pub(super) status: RefusalStatus,
    pub(super) disclose: Disclose,
    pub(super) error_docs: Option<String>,
}

impl SiteAnswers {
    /// Compiles a site's answers. `html` and `json` are the texts of `site.html_page` and `site.json_page`, if named.
    pub fn compile(site: &Site, html: Option<&Arc<Source>>, json: Option<&Arc<Source>>) -> Result<Self, Vec<Fault>> {
        Ok(Self {
            not_found: site.not_found.clone(),
            status: site.status,
            disclose: site.disclose,
            error_docs: site.error_docs.clone(),
            ..Self::with_templates(html, json)?
        })
    }

    /// The answers to requests that no site can be found for: the shipped page, 403, the reason.
    pub fn shipped() -> Self {
        Self {
            page: None,
            shipped_page: shipped_page(),
            document: None,
            not_found: NotFound {
                body: "Not Found\n".into(),
                content_type: http::HeaderValue::from_static("text/plain"),
                headers: Vec::new(),
            },
            status: DEFAULT_REFUSAL,
            disclose: Disclose::Reason,
            error_docs: None,
        }
    }

    /// [`Self::shipped`] with a page and a document of one's own.
    pub(super) fn with_templates(html: Option<&Arc<Source>>, json: Option<&Arc<Source>>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let page = keep(html.map(|source| Template::compile(source, Format::Html)), &mut faults);
        let document = keep(json.map(|source| Template::compile(source, Format::Json)), &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            page,
            document,
            ..Self::shipped()
        })
    }

    /// The page, and whether it is the shipped one. A page may fail on what no trial could show; the refusal stands, in
    /// our looks.
    pub(super) fn render_page(&self, values: &Values<'_>) -> (Bytes, bool) {
        match self.page.as_ref().and_then(|page| page.render(values).ok()) {
            Some(page) => (page, false),
            None => (self.shipped_page.render(values).unwrap_or_default(), true),
        }
    }

    /// The site's own document, unless it has none or it fails.
    pub(super) fn render_document(&self, values: &Values<'_>) -> Option<Bytes> {
        self.document.as_ref()?.render(values).ok()
    }
}

fn shipped_page() -> Template {
    let source = Source::new("pages/403.html", SHIPPED_PAGE);
    Template::compile(&source, Format::Html).expect("the shipped page compiles: a test says so")
}

fn keep<T>(result: Option<Result<T, Vec<Fault>>>, faults: &mut Vec<Fault>) -> Option<T> {
    match result? {
        Ok(value) => Some(value),
        Err(found) => {
            faults.extend(found);
            None
        }
    }
}
