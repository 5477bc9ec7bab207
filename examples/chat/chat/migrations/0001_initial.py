from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [
        migrations.CreateModel(
            name="Room",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slug", models.SlugField(unique=True)),
                ("title", models.CharField(max_length=80)),
                ("is_private", models.BooleanField(default=False)),
                ("members", models.ManyToManyField(blank=True, to=settings.AUTH_USER_MODEL)),
            ],
            options={"ordering": ["title"]},
        ),
    ]
