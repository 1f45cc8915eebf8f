package android.content;

import android.content.res.AssetManager;

/** Android's own, as far as the generated class calls it. */
public class Context {
    public AssetManager getAssets() {
        return new AssetManager();
    }
}
