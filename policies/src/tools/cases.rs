//! Tests of policies: requests with what is expected of them, in YAML.

mod expand;
mod read;

use std::sync::Arc;

use serde::Serialize;
use tollgate_attributes::Decision;

pub use read::CaseFile;

use self::read::Case;
use super::asked::RequestFacts;
use super::coverage::{Coverage, Recorder};
use super::judge::{Judge, Judgement};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::sources::SourceFile;

/// What became of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// Each request that was tested.
    pub cases: Vec<CaseResult>,
    /// What the tests have seen of the policies, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// What became of one request of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// File of the test.
    pub file: String,
    /// Line of the case.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// The request, as one line.
    pub request: String,
    /// What is not as expected. Empty: it passed.
    pub problems: Vec<String>,
}

impl TestReport {
    /// Adds other results to these.
    pub fn add(&mut self, cases: Vec<CaseResult>) {
        let passed = cases.iter().filter(|case| case.problems.is_empty()).count();
        self.passed += passed;
        self.failed += cases.len() - passed;
        self.cases.extend(cases);
    }
}

/// Runs the tests of some files.
///
/// # Errors
/// Everything that cannot be read of the files. A test that fails is no error.
pub fn run_cases(judge: &Judge, files: &[SourceFile], with_coverage: bool) -> Result<TestReport, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut recorder = with_coverage.then(Recorder::default);
    let mut report = TestReport { passed: 0, failed: 0, cases: Vec::new(), coverage: None };
    for file in files {
        match CaseFile::read(file) {
            Ok(cases) => {
                for case in cases.cases() {
                    run(judge, file, &cases, case, &mut recorder, &mut report, &mut problems);
                }
            }
            Err(problem) => problems.0.push(problem),
        }
    }
    report.coverage = recorder.map(|recorder| recorder.coverage(judge));
    if problems.has_errors() { Err(problems) } else { Ok(report) }
}

fn run(
    judge: &Judge,
    file: &SourceFile,
    cases: &CaseFile,
    case: &Case,
    recorder: &mut Option<Recorder>,
    report: &mut TestReport,
    problems: &mut Diagnostics,
) {
    let wrong = |code, message| Diagnostic::error(code, &file.path, message).at((case.line, 1));
    problems.0.extend(unknown_ids(judge, case).into_iter().map(|(id, known)| {
        let known: Vec<_> = known.iter().map(|id| &**id).collect();
        wrong("TG0704", format!("there is no policy `{id}`")).suggest(&id, known)
    }));
    let requests = match expand::requests(cases, case, &judge.ground) {
        Ok(requests) => requests,
        Err((code, message)) => return problems.0.push(wrong(code, message)),
    };
    let mut results = Vec::new();
    for facts in &requests {
        let judged = judge.judge(facts);
        if let Some(recorder) = recorder {
            // What cannot be judged has failed already.
            let _ = recorder.record(judge, facts);
        }
        let found = match &judged {
            Ok(judgement) => differences(case, judgement),
            Err(problem) => vec![format!("cannot be judged: {problem}")],
        };
        results.push(CaseResult {
            file: file.path.clone(),
            line: case.line,
            name: case.name.clone(),
            request: one_line(facts),
            problems: found,
        });
    }
    report.add(results);
}

/// Ids that a case expects and no policy has, with those that there are.
fn unknown_ids(judge: &Judge, case: &Case) -> Vec<(String, Vec<Arc<str>>)> {
    let known: Vec<_> = judge.rules.iter().map(|rule| Arc::clone(&rule.entry.id)).collect();
    let lists = [&case.policies, &case.shadow, &case.limits];
    let named = lists.into_iter().flatten().flatten();
    let unknown =
        named.filter(|id| id.as_str() != crate::model::NO_PERMIT && !known.iter().any(|known| **known == ***id));
    unknown.map(|id| (id.clone(), known.clone())).collect()
}

fn differences(case: &Case, judgement: &Judgement) -> Vec<String> {
    let mut found = Vec::new();
    let decision = judgement.decision.as_str();
    if case.expect != decision {
        let by = match (judgement.policies.is_empty(), judgement.decision) {
            (false, _) => format!(" by {}", judgement.policies.join(", ")),
            (true, Decision::Deny) => ": no policy permits it".to_owned(),
            (true, _) => String::new(),
        };
        found.push(format!("expected {}, got {decision}{by}", case.expect));
    }
    if let Some(reason) = &case.reason
        && reason != judgement.reason.as_str()
    {
        found.push(format!("expected reason {reason}, got {}", judgement.reason));
    }
    let lists = [
        ("policies", &case.policies, &judgement.policies),
        ("shadow", &case.shadow, &judgement.shadow),
        ("limits", &case.limits, &judgement.limits),
    ];
    for (name, expected, got) in lists {
        let Some(expected) = expected else { continue };
        let mut sorted: Vec<&str> = expected.iter().map(String::as_str).collect();
        let mut others: Vec<&str> = got.iter().map(|id| &**id).collect();
        sorted.sort_unstable();
        others.sort_unstable();
        if sorted != others {
            found.push(format!("expected {name} {}, got {}", shown(&sorted), shown(&others)));
        }
    }
    for (id, error) in &judgement.failed {
        found.push(format!("policy {id} failed: {error}"));
    }
    found
}

fn shown(ids: &[&str]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// What sets a request of a matrix apart from the others.
fn one_line(facts: &RequestFacts) -> String {
    let caller = if facts.source.is_empty() { "anonymous" } else { &facts.source };
    let mut line = format!("{caller} {} {}", facts.method, facts.destination);
    for part in [&facts.path, &facts.route, &facts.user] {
        if !part.is_empty() {
            line.push(' ');
            line.push_str(part);
        }
    }
    line
}
