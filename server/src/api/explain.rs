//! `ExplainCount`: what one number is made of. The engine knows the facts; their strings are read again from the source.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{ClickEvidence, CopyEvidence, Explanation, VerdictEvidence};

use super::call::Shared;
use super::check;
use super::errors::{CallError, ErrorReason};
use super::page::Budget;
use crate::convert::{to_wire, wire};
use crate::evidence::{Evidence, VerdictWords};
use crate::limits::EVIDENCE_MAX;

/// The reason of a click whose record can not be read any more.
const EVIDENCE_EXPIRED: &str = "evidence_expired";

/// What one row is made of: its clicks, their copies and verdicts, and its revisions.
pub(crate) async fn explain_count(
    shared: &Arc<Shared>,
    request: wire::ExplainCountRequest,
    deadline: Instant,
) -> Result<wire::ExplainCountResponse, CallError> {
    check::check_ad("ad_id", &request.ad_id)?;
    let granularity = check::granularity(request.granularity)?;
    let limit = check::limit(request.limit)?;
    let (ad_id, start_ms) = (request.ad_id, request.window_start_ms);
    if start_ms.rem_euclid(granularity.size_ms()) != 0 {
        let message = format!("{start_ms} is no start of a window of {} ms", granularity.size_ms());
        return Err(CallError::field(ErrorReason::WindowStartInvalid, "window_start_ms", message));
    }
    check::range(start_ms, start_ms.saturating_add(granularity.size_ms()))?;
    let snapshot = shared.snapshot(request.read.as_ref(), deadline).await?;
    let answer = shared.read(deadline, move |shared| {
        let explanation = snapshot.explain(&ad_id, granularity, start_ms, limit, Some(deadline))?;
        let mut response = respond(shared, &explanation, deadline)?;
        response.snapshot = Some(shared.wire_snapshot(&snapshot));
        Ok(response)
    });
    answer.await
}

fn respond(
    shared: &Shared,
    explanation: &Explanation,
    deadline: Instant,
) -> Result<wire::ExplainCountResponse, CallError> {
    let row = explanation.row.as_ref().map(to_wire::row);
    if row.is_some() && explanation.clicks.is_empty() {
        let message = "the clicks behind this row are past their retention; the row itself stands";
        return Err(CallError::new(ErrorReason::EvidenceExpired, message));
    }
    let mut budget = Budget::new(usize::MAX);
    // The newest revisions are the ones asked about; a row that is corrected at every epoch has many.
    let skipped = explanation.revisions.len().saturating_sub(EVIDENCE_MAX);
    let lineage = shared.lineage.to_string();
    let revisions: Vec<_> =
        explanation.revisions[skipped..].iter().map(|correction| to_wire::correction(correction, &lineage)).collect();
    for revision in &revisions {
        budget.take(revision.encoded_len());
    }
    let mut clicks = Vec::with_capacity(explanation.clicks.len());
    for click in &explanation.clicks {
        if Instant::now() >= deadline {
            return Err(CallError::deadline());
        }
        let message = click_evidence(&shared.evidence, &shared.streams(), click);
        if !budget.take(message.encoded_len()) {
            break;
        }
        clicks.push(message);
    }
    Ok(wire::ExplainCountResponse { snapshot: None, row, clicks, revisions })
}

fn click_evidence(evidence: &Evidence, streams: &[StreamName], click: &ClickEvidence) -> wire::ClickEvidence {
    let words = evidence.click(click.position);
    let standing = click.verdicts.iter().find(|verdict| verdict.stands);
    let standing_words = standing.map(|verdict| evidence.verdict(verdict.position).unwrap_or_default());
    let standing_words = standing_words.unwrap_or_default();
    let reason = match &words {
        Some(_) => standing_words.reason,
        None => EVIDENCE_EXPIRED.to_string(),
    };
    let words = words.unwrap_or_default();
    wire::ClickEvidence {
        click_id: words.click_id,
        timestamp_ms: click.event_ms,
        user_id: words.user_id,
        price_micros: click.price_micros,
        copies: 1 + click.other_copies.len() as i64,
        invalid: click.invalid,
        reason,
        model_version: standing_words.model_version,
        position: Some(to_wire::record_position(streams, click.position)),
        verdicts: click.verdicts.iter().take(EVIDENCE_MAX).map(|v| verdict_evidence(evidence, v)).collect(),
        other_copies: click.other_copies.iter().take(EVIDENCE_MAX).map(|c| copy_evidence(streams, c)).collect(),
    }
}

fn verdict_evidence(evidence: &Evidence, verdict: &VerdictEvidence) -> wire::VerdictEvidence {
    let words = evidence.verdict(verdict.position);
    let VerdictWords { reason, model_version } =
        words.unwrap_or_else(|| VerdictWords { reason: EVIDENCE_EXPIRED.into(), model_version: String::new() });
    let decision = if verdict.invalid { "INVALID" } else { "VALID" };
    wire::VerdictEvidence {
        decision: decision.into(),
        timestamp_ms: verdict.decided_ms,
        reason,
        model_version,
        stands: verdict.stands,
    }
}

fn copy_evidence(streams: &[StreamName], copy: &CopyEvidence) -> wire::CopyEvidence {
    wire::CopyEvidence {
        ad_id: copy.ad_id.to_string(),
        timestamp_ms: copy.event_ms,
        conflicting: copy.conflicting,
        position: Some(to_wire::record_position(streams, copy.position)),
    }
}
