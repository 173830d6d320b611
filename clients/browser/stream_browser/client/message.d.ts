/* Messages of the protocol: of a client (`ClientMessage`) and of the server (`StreamEvent`).
 * Generated from protocol/schemas by `npm run types`; do not edit. */

/**
 * Version 1 of the protocol. Generated from the types by python -m stream_protocol.schema; edit those.
 */
export type ClientMessage = Init | Frame | Flush | Keepalive | Configure | End;

/**
 * The first frame of a connection.
 */
export interface Init {
  /**
   * May be left out; both names mean the same.
   */
  type?: "init" | "config" | null;
  /**
   * The key, where neither the `Authorization` header nor `?token=` carries it.
   */
  api_key?: string | null;
  /**
   * Name of the model; the server's own default when left out. `GET /v1/models` lists them.
   */
  model?: string | null;
  /**
   * BCP 47 code of the language spoken, or `auto`.
   */
  language?: string | null;
  /**
   * Hertz, of the audio that will be sent. The server resamples. Out of range is `UNSUPPORTED_AUDIO`.
   */
  sample_rate?: number | null;
  /**
   * Sample type, little endian. `container` is WebM/Opus or Ogg/Opus as browsers record it.
   */
  dtype?:
    | "float32"
    | "pcm_f32le"
    | "int16"
    | "pcm_s16le"
    | "linear16"
    | "ulaw"
    | "mulaw"
    | "pcm_mulaw"
    | "alaw"
    | "pcm_alaw"
    | "container"
    | null;
  /**
   * Interleaved channels. Each is segmented by itself. Out of range is `UNSUPPORTED_AUDIO`.
   */
  channels?: number | null;
  /**
   * How often a partial may come, in seconds; a streaming model takes the nearest it has (see `ready.config`).
   */
  chunk_size_sec?: number | null;
  /**
   * Seconds of silence that end a segment.
   */
  silence_threshold_sec?: number | null;
  /**
   * A segment of this many seconds is made final even in mid-speech.
   */
  max_segment_sec?: number | null;
  /**
   * Whether to send `partial` events.
   */
  partials?: boolean | null;
  /**
   * Whether finals carry `words`.
   */
  words?: boolean | null;
  /**
   * Whether finals say who speaks: the channel where there are several, else told apart by their voices.
   */
  diarize?: boolean | null;
  /**
   * Seconds without audio or `keepalive` until the session ends with `TIMEOUT`; without a connection none pass.
   */
  inactivity_timeout?: number | null;
  /**
   * Seconds after which the server ends the session with `TIMEOUT`.
   */
  max_connection_duration?: number | null;
  /**
   * Voice activity detector: `webrtc` or `silero`; the server's own default when left out.
   */
  vad?: string | null;
  /**
   * Words or phrases to favour, where the model can: the first 100, cut to 100 characters, as far as it has room.
   */
  keyterms?: string[] | null;
  /**
   * Resume: the `session_id` of the broken session's `ready`.
   */
  session_id?: string | null;
  /**
   * Resume: the `resume_token` of the same `ready`.
   */
  resume_token?: string | null;
  /**
   * Resume: `seq` of the last event that arrived; 0 for none.
   */
  last_seq?: number | null;
  /**
   * Whether to send `ack` events.
   */
  acks?: boolean | null;
}
/**
 * Audio in JSON, for clients that cannot send binary frames.
 */
export interface Frame {
  type: "frame";
  /**
   * Base64, with padding, of what a binary frame would hold.
   */
  audio: string;
}
/**
 * Make what has been heard final now; answered with `flushed`.
 */
export interface Flush {
  type: "flush";
  /**
   * Comes back in `flushed`.
   */
  id?: number | string | null;
}
/**
 * Nothing to say, but still here: resets the inactivity timeout.
 */
export interface Keepalive {
  type: "keepalive";
}
/**
 * Change settings in mid-stream; answered with `configured`. Absent fields stay as they are.
 */
export interface Configure {
  type: "configure";
  /**
   * As in init, from now on; with a streaming model from the next segment on.
   */
  chunk_size_sec?: number | null;
  /**
   * As in init, from now on, the open segment included.
   */
  silence_threshold_sec?: number | null;
  /**
   * As in init, from the next segment on.
   */
  max_segment_sec?: number | null;
  /**
   * As in init, from now on.
   */
  partials?: boolean | null;
  /**
   * As in init, for every final still to come.
   */
  words?: boolean | null;
  /**
   * As in init, from the next segment on.
   */
  keyterms?: string[] | null;
}
/**
 * No more audio: make everything final, send the transcript and close.
 */
export interface End {
  type: "end";
}

/**
 * Version 1 of the protocol. Generated from the types by python -m stream_protocol.schema; edit those.
 */
export type StreamEvent =
  | Ready
  | Ack
  | Warning
  | Error
  | SpeechStart
  | Partial
  | SpeechEnd
  | FinalSegment
  | SpeakersRevised
  | Flushed
  | Configured
  | EndOfTranscript
  | Done;
/**
 * A newer server may have more of them.
 */
export type WarningCode = "BACKPRESSURE" | "DEGRADED" | "DRAINING";
/**
 * A code of the error table; a newer server may have more of them.
 */
export type ErrorCode =
  | "INVALID_INIT"
  | "PROTOCOL_ERROR"
  | "UNSUPPORTED_AUDIO"
  | "AUTH_FAILED"
  | "MODEL_NOT_FOUND"
  | "LANGUAGE_NOT_SUPPORTED"
  | "MESSAGE_TOO_LARGE"
  | "RATE_LIMITED"
  | "CAPACITY_FULL"
  | "TIMEOUT"
  | "SESSION_NOT_FOUND"
  | "SESSION_REPLACED"
  | "SERVER_DRAINING"
  | "INTERNAL_ERROR";

/**
 * Always the first event, unless it is an error.
 */
export interface Ready {
  type: "ready";
  /**
   * Names the session: for support, and to resume it.
   */
  session_id: string;
  /**
   * Proves, on resume, that the session is yours.
   */
  resume_token: string;
  /**
   * Version of this protocol.
   */
  protocol: number;
  /**
   * The model in use.
   */
  model: string;
  /**
   * The language asked for: a BCP 47 code, or `auto`.
   */
  language: string;
  config: Config;
  /**
   * Names of the init fields that the server does not know.
   */
  ignored: string[];
  /**
   * Whether this continues an earlier session.
   */
  resumed: boolean;
  /**
   * Samples per channel, at the sample rate of init, that the server has: send the audio from here on.
   */
  received_samples: number;
}
/**
 * What is in force: every field of init after defaults and clamping, without keys and resume fields.
 */
export interface Config {
  /**
   * Name of the model; the server's own default when left out. `GET /v1/models` lists them.
   */
  model?: string;
  /**
   * BCP 47 code of the language spoken, or `auto`.
   */
  language?: string;
  /**
   * Hertz, of the audio that will be sent. The server resamples. Out of range is `UNSUPPORTED_AUDIO`.
   */
  sample_rate?: number;
  /**
   * Sample type, little endian. `container` is WebM/Opus or Ogg/Opus as browsers record it.
   */
  dtype?:
    | "float32"
    | "pcm_f32le"
    | "int16"
    | "pcm_s16le"
    | "linear16"
    | "ulaw"
    | "mulaw"
    | "pcm_mulaw"
    | "alaw"
    | "pcm_alaw"
    | "container";
  /**
   * Interleaved channels. Each is segmented by itself. Out of range is `UNSUPPORTED_AUDIO`.
   */
  channels?: number;
  /**
   * How often a partial may come, in seconds; a streaming model takes the nearest it has (see `ready.config`).
   */
  chunk_size_sec?: number;
  /**
   * Seconds of silence that end a segment.
   */
  silence_threshold_sec?: number;
  /**
   * A segment of this many seconds is made final even in mid-speech.
   */
  max_segment_sec?: number;
  /**
   * Whether to send `partial` events.
   */
  partials?: boolean;
  /**
   * Whether finals carry `words`.
   */
  words?: boolean;
  /**
   * Whether finals say who speaks: the channel where there are several, else told apart by their voices.
   */
  diarize?: boolean;
  /**
   * Seconds without audio or `keepalive` until the session ends with `TIMEOUT`; without a connection none pass.
   */
  inactivity_timeout?: number;
  /**
   * Seconds after which the server ends the session with `TIMEOUT`.
   */
  max_connection_duration?: number;
  /**
   * Voice activity detector: `webrtc` or `silero`; the server's own default when left out.
   */
  vad?: string;
  /**
   * Words or phrases to favour, where the model can: the first 100, cut to 100 characters, as far as it has room.
   */
  keyterms?: string[];
  /**
   * Whether to send `ack` events.
   */
  acks?: boolean;
}
/**
 * `received_samples` (per channel, at the caller's rate) may be forgotten by the client.
 */
export interface Ack {
  type: "ack";
  /**
   * Samples per channel, at the sample rate of init, that will not be asked for again.
   */
  received_samples: number;
}
/**
 * Something the caller may want to show; the session goes on.
 */
export interface Warning {
  type: "warning";
  code: WarningCode;
  /**
   * For people to read.
   */
  message: string;
  /**
   * `BACKPRESSURE`: how full the server's queue for this session is, from 0 to 1, where it is read more slowly.
   * `DEGRADED`: 0 when it is over.
   */
  level?: number;
  /**
   * `DRAINING`: seconds until the server closes the connection.
   */
  deadline_sec?: number;
}
/**
 * What was wrong and what is allowed; a close with the code's number follows.
 */
export interface Error {
  type: "error";
  code: ErrorCode;
  /**
   * What was wrong and what is allowed, for people to read.
   */
  message: string;
  /**
   * Seconds to wait before trying again, where waiting helps.
   */
  retry_after?: number;
}
/**
 * Speech began at `offset_ms`.
 */
export interface SpeechStart {
  type: "speech_start";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * 0, 1, 2, ... over the session, in the order of `speech_start`, all channels together.
   */
  segment_id: number;
  /**
   * Where the speech begins.
   */
  offset_ms: number;
  /**
   * Which channel of the audio, from 0.
   */
  channel: number;
}
/**
 * The text so far. Its first `stable_chars` characters will not change any more.
 */
export interface Partial {
  type: "partial";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * 0, 1, 2, ... over the session, in the order of `speech_start`, all channels together.
   */
  segment_id: number;
  /**
   * The segment so far.
   */
  text: string;
  /**
   * So many Unicode code points at the start of `text` are final.
   */
  stable_chars: number;
  /**
   * BCP 47 code of the language spoken.
   */
  language: string;
  /**
   * Where the speech of the segment begins.
   */
  offset_ms: number;
  /**
   * How long the speech of the segment is so far.
   */
  duration_ms: number;
  /**
   * Seconds of audio decoded for this text.
   */
  audio_duration_sec: number;
  /**
   * From the moment the server had the last audio of this text to the sending of the event.
   */
  latency_ms: number;
  is_final: false;
  /**
   * Which channel of the audio, from 0.
   */
  channel: number;
}
/**
 * Speech ended at `offset_ms`; the final of this segment follows.
 */
export interface SpeechEnd {
  type: "speech_end";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * 0, 1, 2, ... over the session, in the order of `speech_start`, all channels together.
   */
  segment_id: number;
  /**
   * Where the speech ends.
   */
  offset_ms: number;
  /**
   * Which channel of the audio, from 0.
   */
  channel: number;
}
/**
 * The text of a segment, once and for all. It may be empty.
 */
export interface FinalSegment {
  type: "final_segment";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * 0, 1, 2, ... over the session, in the order of `speech_start`, all channels together.
   */
  segment_id: number;
  /**
   * The text of the segment; may be empty.
   */
  text: string;
  /**
   * BCP 47 code of the language spoken.
   */
  language: string;
  /**
   * Where the speech of the segment begins.
   */
  offset_ms: number;
  /**
   * How long the speech of the segment is.
   */
  duration_ms: number;
  /**
   * Seconds of audio decoded for this text.
   */
  audio_duration_sec: number;
  /**
   * Silence heard after the speech before the segment was ended; 0 after a cut.
   */
  silence_duration_ms: number;
  /**
   * From 0 to 1; 0 where the text is empty.
   */
  confidence: number;
  /**
   * The words of `text` in order; left out when `words` is false, or the model cannot say where they lie.
   */
  words?: Word[];
  /**
   * Who says most of it: `SPEAKER_00`, `SPEAKER_01`, ... where init asked to `diarize`; left out without text.
   */
  speaker?: string;
  /**
   * From the decision that speech has ended to the sending of the event.
   */
  latency_ms: number;
  is_final: true;
  /**
   * Which channel of the audio, from 0.
   */
  channel: number;
}
/**
 * One word as written (punctuation attached), with its time and the model's confidence from 0 to 1.
 */
export interface Word {
  /**
   * As written in the text, punctuation attached.
   */
  word: string;
  /**
   * Where it begins.
   */
  start_ms: number;
  /**
   * Where it ends.
   */
  end_ms: number;
  /**
   * From 0 to 1.
   */
  confidence: number;
  /**
   * Who said it, where speakers are told apart.
   */
  speaker?: string;
}
/**
 * What was said about the speakers of earlier finals was wrong: this is so instead.
 */
export interface SpeakersRevised {
  type: "speakers_revised";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * Those whose speakers have changed, in order of `segment_id`; all others stay as they were told.
   */
  segments: RevisedSegment[];
}
/**
 * Who speaks in a segment whose final was sent, after all.
 */
export interface RevisedSegment {
  /**
   * That of the final.
   */
  segment_id: number;
  /**
   * In the place of the final's `speaker`.
   */
  speaker: string;
  /**
   * The speaker of each of the final's `words`, in order; left out where it had none.
   */
  words?: string[];
}
/**
 * Everything that was sent before the flush of this `id` is final.
 */
export interface Flushed {
  type: "flushed";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * The `id` of the flush; left out when it had none.
   */
  id?: number | string;
}
/**
 * The settings now in force.
 */
export interface Configured {
  type: "configured";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  config: Config1;
}
/**
 * What is in force now: the same fields as `ready.config`.
 */
export interface Config1 {
  /**
   * Name of the model; the server's own default when left out. `GET /v1/models` lists them.
   */
  model?: string;
  /**
   * BCP 47 code of the language spoken, or `auto`.
   */
  language?: string;
  /**
   * Hertz, of the audio that will be sent. The server resamples. Out of range is `UNSUPPORTED_AUDIO`.
   */
  sample_rate?: number;
  /**
   * Sample type, little endian. `container` is WebM/Opus or Ogg/Opus as browsers record it.
   */
  dtype?:
    | "float32"
    | "pcm_f32le"
    | "int16"
    | "pcm_s16le"
    | "linear16"
    | "ulaw"
    | "mulaw"
    | "pcm_mulaw"
    | "alaw"
    | "pcm_alaw"
    | "container";
  /**
   * Interleaved channels. Each is segmented by itself. Out of range is `UNSUPPORTED_AUDIO`.
   */
  channels?: number;
  /**
   * How often a partial may come, in seconds; a streaming model takes the nearest it has (see `ready.config`).
   */
  chunk_size_sec?: number;
  /**
   * Seconds of silence that end a segment.
   */
  silence_threshold_sec?: number;
  /**
   * A segment of this many seconds is made final even in mid-speech.
   */
  max_segment_sec?: number;
  /**
   * Whether to send `partial` events.
   */
  partials?: boolean;
  /**
   * Whether finals carry `words`.
   */
  words?: boolean;
  /**
   * Whether finals say who speaks: the channel where there are several, else told apart by their voices.
   */
  diarize?: boolean;
  /**
   * Seconds without audio or `keepalive` until the session ends with `TIMEOUT`; without a connection none pass.
   */
  inactivity_timeout?: number;
  /**
   * Seconds after which the server ends the session with `TIMEOUT`.
   */
  max_connection_duration?: number;
  /**
   * Voice activity detector: `webrtc` or `silero`; the server's own default when left out.
   */
  vad?: string;
  /**
   * Words or phrases to favour, where the model can: the first 100, cut to 100 characters, as far as it has room.
   */
  keyterms?: string[];
  /**
   * Whether to send `ack` events.
   */
  acks?: boolean;
}
/**
 * The whole transcript.
 */
export interface EndOfTranscript {
  type: "end_of_transcript";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * All finals in order of `offset_ms` and then `channel`, joined by single spaces, empty ones left out.
   */
  text: string;
}
/**
 * The last event; close 1000 follows.
 */
export interface Done {
  type: "done";
  /**
   * 1, 2, 3, ... over the session, without a gap.
   */
  seq: number;
  /**
   * Number of `final_segment` events.
   */
  total_segments: number;
  /**
   * Seconds of audio received; channels are not added up.
   */
  total_audio_duration_sec: number;
  /**
   * Seconds from the init to this event, time between connections included.
   */
  connection_duration_sec: number;
}
