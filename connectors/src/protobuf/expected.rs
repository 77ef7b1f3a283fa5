//! What prost reads, as we say it: for the property tests and the fuzz target.

use std::borrow::Cow;

use recount_dataflow::domain::event::{Click, Decision, Event, LongestOther, Verdict};
use recount_proto::v1;

/// The event of a generated message, in our words.
pub(crate) fn expected(event: &v1::Event) -> Option<Event<'_>> {
    Some(match event.body.as_ref()? {
        v1::event::Body::Click(click) => {
            let mut longest_other = LongestOther::default();
            let others = [
                ("advertiser_id", &click.advertiser_id),
                ("campaign_id", &click.campaign_id),
                ("creative_id", &click.creative_id),
                ("publisher_id", &click.publisher_id),
                ("placement_id", &click.placement_id),
                ("session_id", &click.session_id),
                ("country", &click.country),
                ("device", &click.device),
                ("ip", &click.ip),
                ("user_agent", &click.user_agent),
            ];
            for (name, text) in others {
                longest_other.observe(name, text.len());
            }
            Event::Click(Click {
                click_id: Cow::Borrowed(&click.click_id),
                ad_id: Cow::Borrowed(&click.ad_id),
                event_ms: click.timestamp_ms,
                user_id: Cow::Borrowed(&click.user_id),
                price_micros: click.price_micros,
                received_at_ms: click.received_at_ms,
                longest_other,
            })
        }
        v1::event::Body::Verdict(verdict) => {
            let mut longest_other = LongestOther::default();
            longest_other.observe("reason", verdict.reason.len());
            longest_other.observe("model_version", verdict.model_version.len());
            Event::Verdict(Verdict {
                click_id: Cow::Borrowed(&verdict.click_id),
                decision: match verdict.decision {
                    1 => Some(Decision::Invalid),
                    2 => Some(Decision::Valid),
                    _ => None,
                },
                decided_ms: verdict.timestamp_ms,
                reason: Cow::Borrowed(&verdict.reason),
                model_version: Cow::Borrowed(&verdict.model_version),
                score: verdict.score,
                longest_other,
            })
        }
    })
}
