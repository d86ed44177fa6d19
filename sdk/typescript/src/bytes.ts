/**
 * Small byte work that every part needs: base64 with one spelling per value, and reading without
 * surprises. Node's own decoder skips what it does not know, and so gives one value many spellings.
 */

/** Decodes canonical base64 (RFC 4648 section 4, padded) or base64url (section 5, unpadded). */
export function decodeBase64(text: string, alphabet: "base64" | "base64url"): Buffer | null {
  const bytes = Buffer.from(text, alphabet);
  return bytes.toString(alphabet) === text ? bytes : null;
}

/** Decodes UTF-8; null where it is none. A byte order mark is kept as what it is. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** A JSON object; null for anything else. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** Whether a value is an object with names, not a list and not null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
