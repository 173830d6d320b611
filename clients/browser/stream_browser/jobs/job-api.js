/**
 * The part of the server's HTTP API that the jobs page needs, as functions: models, jobs, uploads with progress.
 *
 * Addresses are relative to the page, so that it works below any path. It knows nothing of what the answers mean.
 */

const JOBS = "v1/transcription-jobs";
const LIST = "v1/transcriptions";

/** What the server has refused, or why it was not reached. */
export class ApiError extends Error {
  /**
   * @param {string} code one of the server's reasons, NETWORK, or ABORTED
   * @param {string} message
   * @param {{ status?: number, retryAfterSec?: number }} [about]
   */
  constructor(code, message, { status = 0, retryAfterSec = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.retryAfterSec = retryAfterSec;
  }
}

/**
 * Asks somebody for a key. `refused` is the one that was not good, empty if there was none.
 * @callback AskKey
 * @param {string} refused
 * @returns {Promise<string | null>} null where there is none
 */

export class JobApi {
  #base;
  #key;
  #askKey;
  /** @type {Promise<string | null> | null} */
  #asking = null;

  /**
   * @param {object} options
   * @param {string} options.base address of the page
   * @param {string} options.key the API key; empty for none
   * @param {AskKey} options.askKey
   */
  constructor({ base, key, askKey }) {
    this.#base = base;
    this.#key = key;
    this.#askKey = askKey;
  }

  /** What is served. @returns {Promise<{ id: string, languages: string[] }[]>} */
  async models() {
    return (await this.#json("GET", "v1/models")).data;
  }

  /**
   * Jobs that were made before, newest first.
   * @param {string} cursor `next_cursor` of the page before; empty for the first
   * @returns {Promise<{ data: any[], next_cursor: string | null }>}
   */
  list(cursor) {
    return this.#json("GET", `${LIST}?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  }

  /** @param {string} id */
  read(id) {
    return this.#json("GET", `${JOBS}/${encodeURIComponent(id)}`);
  }

  /** @param {string} id */
  cancel(id) {
    return this.#json("POST", `${JOBS}/${encodeURIComponent(id)}/cancel`);
  }

  /** @param {string} id */
  remove(id) {
    return this.#json("DELETE", `${LIST}/${encodeURIComponent(id)}`);
  }

  /**
   * Make a job.
   * @param {FormData} form
   * @param {object} [options]
   * @param {(share: number) => void} [options.onProgress] how much of the upload is done, 0 to 1
   * @param {AbortSignal} [options.signal] ends the upload, which then rejects with ABORTED
   * @returns {Promise<any>} the job
   */
  submit(form, { onProgress = () => {}, signal } = {}) {
    return this.#withKey((key) => upload(new URL(JOBS, this.#base).href, form, key, onProgress, signal));
  }

  /**
   * @param {string} method
   * @param {string} path
   */
  #json(method, path) {
    return this.#withKey(async (key) => {
      let response;
      try {
        response = await fetch(new URL(path, this.#base), {
          method,
          headers: key ? { Authorization: `Bearer ${key}` } : {},
          cache: "no-store",
          signal: AbortSignal.timeout(60_000),
        });
      } catch {
        throw new ApiError("NETWORK", "the server cannot be reached");
      }
      const body = await response.json().catch(() => null);
      if (!response.ok) throw errorOf(response.status, body, response.headers.get("Retry-After"));
      return body;
    });
  }

  /**
   * Do it with the key there is; where that is refused, ask for another, once for all that wait for one.
   * @param {(key: string) => Promise<any>} request
   */
  async #withKey(request) {
    for (;;) {
      const key = this.#key;
      try {
        return await request(key);
      } catch (error) {
        // 403: the key is known, and not for this.
        const isRefused = error instanceof ApiError && (error.status === 401 || (error.status === 403 && key));
        if (!isRefused) throw error;
        if (key === this.#key) {
          this.#asking ??= this.#askKey(key).finally(() => (this.#asking = null));
          const given = await this.#asking;
          if (given === null) throw error;
          this.#key = given;
        }
      }
    }
  }
}

/**
 * XMLHttpRequest, because `fetch` does not tell how much has gone out.
 * @param {string} address
 * @param {FormData} form
 * @param {string} key
 * @param {(share: number) => void} onProgress
 * @param {AbortSignal} [signal]
 */
function upload(address, form, key, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const aborted = () => reject(new ApiError("ABORTED", "the upload was cancelled"));
    if (signal?.aborted) return aborted();
    request.open("POST", address);
    request.responseType = "json";
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 0);
    request.upload.onload = () => onProgress(1);
    request.onload = () => {
      if (request.status === 202) resolve(request.response);
      else reject(errorOf(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(new ApiError("NETWORK", "the connection broke while the file was uploaded"));
    request.onabort = aborted;
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/**
 * @param {number} status
 * @param {any} body
 * @param {string | null} retryAfter
 */
function errorOf(status, body, retryAfter) {
  const code = body?.error?.code ?? "INTERNAL";
  const message = body?.error?.message ?? `the server answered with status ${status}`;
  return new ApiError(code, message, { status, retryAfterSec: Number(retryAfter) || 0 });
}
