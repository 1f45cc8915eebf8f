/* Numbers as 16-bit codes of their largest: number = code * the result. Exact to 1/65534 of the largest. */
static float sprue_codes16(const float *from, int16_t *to, int32_t count)
{
    float most = 0.0f;
    for (int32_t i = 0; i < count; ++i) {
        const float size = from[i] < 0.0f ? -from[i] : from[i];
        most = size > most ? size : most;
    }
    const float inverse = most > 0.0f ? 32767.0f / most : 0.0f;
    for (int32_t i = 0; i < count; ++i) {
        to[i] = (int16_t)sprue_quantize(from[i] * inverse, 0, -32767, 32767);
    }
    return most / 32767.0f;
}
