//! TLS and AUTH in a session: who is there, and whether anybody else can listen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::timeout;

use super::auth::Next;
use super::dialogue::Answer;
use super::session::{End, Session, too_slow, whole};
use crate::stream::Stream;

impl Session {
    /// Puts TLS on the connection.
    pub(super) async fn handshake(&mut self) -> Result<(), End> {
        let Some(acceptor) = self.server.tls.clone() else { return Err(End::Closed) };
        let stream = std::mem::replace(&mut self.stream, Stream::Gone);
        let accepted = timeout(self.server.limits.handshake, stream.accept(&acceptor)).await;
        self.stream = accepted.map_err(|_| too_slow())??;
        self.dialogue.is_secured = true;
        Ok(())
    }

    /// Goes through a mechanism (RFC 4954, 4).
    pub(super) async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<String>,
    ) -> Result<Answer, End> {
        let unreadable = || Answer::new(501, "5.5.2 that is no base64");
        let decode = |text: &[u8]| match text {
            b"=" => Some(Vec::new()),
            text => BASE64.decode(text).ok(),
        };
        let Some(mut proof) = self.server.users.dialogue(mechanism) else {
            return Ok(Answer::new(504, "5.5.4 mechanism not offered"));
        };
        let mut said = match initial.as_deref().map(|text| decode(text.as_bytes())) {
            Some(None) => return Ok(unreadable()),
            Some(said) => said,
            None => None,
        };
        // Where the server begins, an answer that came along is one to its first question.
        let mut ahead = if proof.is_client_first() { None } else { said.take() };
        let mut challenge = (proof.is_client_first() && said.is_none()).then(Vec::new);
        for _ in 0..CHALLENGES {
            if let Some(challenge) = challenge.take() {
                said = match ahead.take() {
                    Some(said) => Some(said),
                    None => {
                        Answer::new(334, BASE64.encode(challenge)).write(&mut self.out);
                        let line = self.line(|line| whole(line).map(<[u8]>::to_vec)).await?;
                        match line {
                            Err(answer) => return Ok(answer),
                            Ok(line) if line == b"*" => {
                                return Ok(Answer::new(501, "5.7.0 given up"));
                            }
                            Ok(line) => match decode(&line) {
                                Some(said) => Some(said),
                                None => return Ok(unreadable()),
                            },
                        }
                    }
                };
            }
            match proof.step(said.as_deref()) {
                Next::Ask(asked) => challenge = Some(asked),
                Next::Is(user) => {
                    self.dialogue.user = Some(user);
                    return Ok(Answer::new(235, "2.7.0 welcome"));
                }
                Next::Nobody => return Ok(Answer::new(535, "5.7.8 wrong name or password")),
                Next::Nonsense => return Ok(Answer::new(501, "5.5.2 that is not the mechanism")),
            }
        }
        Ok(Answer::new(535, "5.7.8 too many steps"))
    }
}

/// No mechanism has more.
const CHALLENGES: usize = 8;
